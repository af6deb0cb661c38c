//! Schemas as real software sends them: each passes, and what matters of it is held.

use serde_json::{Value, json};

use super::super::Schema;
use super::unheld;

/// `json.dumps(Model.model_json_schema())` of pydantic 2: nested models, optional unions, constrained fields.
fn pydantic() -> Value {
    json!({"$defs": {
        "Address": {"properties": {"street": {"title": "Street", "type": "string"}, "zip": {"pattern": "^\\d{5}(-\\d{4})?$", "title": "Zip", "type": "string"},
            "country": {"anyOf": [{"$ref": "#/$defs/Country"}, {"type": "null"}], "default": null}}, "required": ["street", "zip"], "title": "Address", "type": "object"},
        "Country": {"enum": ["de", "fr", "us"], "title": "Country", "type": "string"},
        "Cat": {"properties": {"kind": {"const": "cat", "title": "Kind", "type": "string"}, "lives": {"default": 9, "maximum": 9, "minimum": 1, "title": "Lives", "type": "integer"}},
            "required": ["kind"], "title": "Cat", "type": "object"},
        "Dog": {"properties": {"kind": {"const": "dog", "title": "Kind", "type": "string"}, "tricks": {"items": {"type": "string"}, "title": "Tricks", "type": "array"}},
            "required": ["kind", "tricks"], "title": "Dog", "type": "object"}},
      "properties": {"name": {"maxLength": 80, "minLength": 1, "title": "Name", "type": "string"}, "born": {"format": "date", "title": "Born", "type": "string"},
        "seen": {"anyOf": [{"format": "date-time", "type": "string"}, {"type": "null"}], "default": null, "title": "Seen"},
        "addresses": {"items": {"$ref": "#/$defs/Address"}, "maxItems": 5, "title": "Addresses", "type": "array"},
        "pet": {"discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"}, "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "title": "Pet"},
        "scores": {"additionalProperties": {"type": "number"}, "title": "Scores", "type": "object"},
        "pair": {"maxItems": 2, "minItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}], "title": "Pair", "type": "array"}},
      "required": ["name", "born", "addresses", "pet", "scores", "pair"], "title": "Person", "type": "object"})
}

/// pydantic 1 wraps each reference in an `allOf`.
fn pydantic_1() -> Value {
    json!({"title": "Order", "type": "object", "properties": {"customer": {"title": "Customer", "allOf": [{"$ref": "#/definitions/Customer"}]},
        "state": {"description": "where it is", "default": "open", "allOf": [{"$ref": "#/definitions/State"}]}}, "required": ["customer"],
        "definitions": {"Customer": {"title": "Customer", "type": "object", "properties": {"id": {"title": "Id", "type": "integer", "exclusiveMinimum": 0}}, "required": ["id"]},
            "State": {"title": "State", "enum": ["open", "closed"], "type": "string"}}})
}

/// zod 4's `toJSONSchema`, also with its references into the document.
fn zod() -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {
        "email": {"type": "string", "format": "email", "pattern": "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"},
        "age": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9_007_199_254_740_991_i64}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "size": {"anyOf": [{"type": "string", "const": "s"}, {"type": "string", "const": "l"}, {"type": "null"}]},
        "map": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "boolean"}},
        "again": {"$ref": "#/properties/tags"}, "nick": {"type": ["string", "null"]}},
        "required": ["email", "age", "tags", "size", "map", "nick"], "additionalProperties": false})
}

/// From OpenAI's guide to structured outputs: steps of a solution, and a page that contains itself.
fn openai_steps() -> Value {
    json!({"type": "object", "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {"explanation": {"type": "string"}, "output": {"type": "string"}},
        "required": ["explanation", "output"], "additionalProperties": false}}, "final_answer": {"type": "string"}}, "required": ["steps", "final_answer"], "additionalProperties": false})
}

fn openai_page() -> Value {
    json!({"type": "object", "properties": {"type": {"type": "string", "description": "The type of the UI component", "enum": ["div", "button", "header", "section", "field", "form"]},
        "label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}},
        "attributes": {"type": "array", "items": {"$ref": "#/$defs/attribute"}}}, "required": ["type", "label", "children", "attributes"], "additionalProperties": false,
        "$defs": {"attribute": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "string"}}, "required": ["name", "value"], "additionalProperties": false}}})
}

fn openai_linked_list() -> Value {
    json!({"type": "object", "properties": {"linked_list": {"$ref": "#/$defs/linked_list_node"}},
        "$defs": {"linked_list_node": {"type": "object", "properties": {"value": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/linked_list_node"}, {"type": "null"}]}},
            "additionalProperties": false, "required": ["next", "value"]}}, "additionalProperties": false, "required": ["linked_list"]})
}

/// Tools of coding agents.
fn edit_file() -> Value {
    json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"file_path": {"type": "string", "description": "The absolute path to the file"},
        "edits": {"type": "array", "minItems": 1, "description": "Edits, in order", "items": {"type": "object", "properties": {"old_string": {"type": "string"}, "new_string": {"type": "string"},
            "replace_all": {"type": "boolean", "default": false}}, "required": ["old_string", "new_string"], "additionalProperties": false}}},
        "required": ["file_path", "edits"], "additionalProperties": false})
}

fn todo_list() -> Value {
    json!({"type": "object", "properties": {"todos": {"type": "array", "items": {"type": "object", "properties": {"content": {"type": "string", "minLength": 1},
        "status": {"type": "string", "enum": ["pending", "in_progress", "completed"]}, "priority": {"type": "string", "enum": ["high", "medium", "low"]}, "id": {"type": "string"}},
        "required": ["content", "status", "priority", "id"], "additionalProperties": false}}}, "required": ["todos"], "additionalProperties": false})
}

fn run_command() -> Value {
    json!({"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}, "timeout": {"type": "number", "maximum": 600_000},
        "workdir": {"type": "string"}, "env": {"type": "object", "additionalProperties": {"type": "string"}}}, "required": ["command"]})
}

/// Tools of MCP servers.
fn mcp_search() -> Value {
    json!({"type": "object", "properties": {"query": {"type": "string", "maxLength": 400}, "page": {"type": "number", "minimum": 1}, "perPage": {"type": "number", "minimum": 1, "maximum": 100},
        "sort": {"type": "string", "enum": ["stars", "forks", "updated"]}, "order": {"type": "string", "enum": ["asc", "desc"]}, "url": {"type": "string", "format": "uri"}},
        "required": ["query"], "additionalProperties": false, "$schema": "http://json-schema.org/draft-07/schema#"})
}

fn mcp_no_arguments() -> Value {
    json!({"type": "object", "properties": {}})
}

fn mcp_entities() -> Value {
    json!({"type": "object", "properties": {"entities": {"type": "array", "items": {"type": "object", "properties": {
        "name": {"type": "string"}, "entityType": {"type": "string"}, "observations": {"type": "array", "items": {"type": "string"}}},
        "required": ["name", "entityType", "observations"]}}, "by": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
        "required": ["entities"], "anyOf": [{"required": ["entities"]}, {"required": ["by"]}]})
}

/// An OpenAPI 3.0 component.
fn open_api() -> Value {
    json!({"type": "object", "properties": {"id": {"type": "integer", "format": "int64", "readOnly": true}, "note": {"type": "string", "nullable": true, "maxLength": 200},
        "state": {"type": "string", "nullable": true, "enum": ["a", "b", null]}, "ip": {"type": "string", "format": "ipv4"}},
        "required": ["id"], "example": {"id": 1}, "externalDocs": {"url": "https://example.org"}})
}

fn hundred_values() -> Value {
    let words: Vec<String> = (0..100).map(|at| format!("category {at}")).collect();
    json!({"type": "object", "properties": {"category": {"type": "string", "enum": words}, "others": {"type": "array", "items": {"type": "string", "enum": words}}},
        "required": ["category", "others"], "additionalProperties": false})
}

/// A large union, as of events or of an abstract syntax tree.
fn syntax_tree() -> Value {
    let operators: Vec<Value> = (0..20)
        .map(|at| json!({"type": "object", "properties": {"op": {"const": format!("op{at}")}, "left": {"$ref": "#/$defs/Expr"}, "right": {"$ref": "#/$defs/Expr"}},
            "required": ["op", "left", "right"], "additionalProperties": false}))
        .chain([json!({"type": "number"}), json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false})])
        .collect();
    json!({"$ref": "#/$defs/Expr", "$defs": {"Expr": {"anyOf": operators}}})
}

/// Alternatives that share their first fields, whose difference comes later.
fn events() -> Value {
    let event = |kind: &str, more: &str| {
        json!({"type": "object", "properties": {"id": {"type": "string"}, "at": {"type": "string", "format": "date-time"}, "type": {"type": "string", "const": kind},
            more: {"type": "array", "items": {"$ref": "#/$defs/event"}}}, "required": ["id", "at", "type", more], "additionalProperties": false})
    };
    json!({"type": "array", "items": {"$ref": "#/$defs/event"}, "$defs": {"event": {"anyOf": [event("start", "causes"), event("stop", "effects"), event("note", "links")]}}})
}

pub(super) fn all() -> Vec<Value> {
    vec![
        pydantic(),
        pydantic_1(),
        zod(),
        openai_steps(),
        openai_page(),
        openai_linked_list(),
        edit_file(),
        todo_list(),
        run_command(),
        mcp_search(),
        mcp_no_arguments(),
        mcp_entities(),
        open_api(),
        hundred_values(),
        syntax_tree(),
        events(),
    ]
}

#[test]
fn real_schemas_pass() {
    for given in all() {
        let built = Schema::from_value(&given, false);
        assert!(built.is_ok(), "{:?} for {given:.300}", built.err());
    }
}

#[test]
fn only_what_no_grammar_holds_is_left_out_of_real_schemas() {
    for given in [
        pydantic(),
        pydantic_1(),
        openai_steps(),
        openai_page(),
        openai_linked_list(),
        edit_file(),
        todo_list(),
        mcp_no_arguments(),
        mcp_entities(),
        open_api(),
        hundred_values(),
        syntax_tree(),
        events(),
    ] {
        assert_eq!(unheld(&given), Vec::<String>::new(), "{given:.300}");
    }
    assert_eq!(unheld(&zod()), ["properties.email.pattern"]);
    assert_eq!(unheld(&run_command()), ["properties.timeout.maximum"]);
    assert_eq!(
        unheld(&mcp_search()),
        [
            "properties.page.minimum",
            "properties.perPage.minimum",
            "properties.perPage.maximum",
            "properties.url.format"
        ]
    );
}
