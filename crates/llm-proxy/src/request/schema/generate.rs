//! Schemas for tests: mostly real keywords, often in places and amounts that no caller would think of.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

/// Schemas in schemas.
const MAX_DEPTH: usize = 6;

/// Names of properties and definitions, among them those that have confused llama.cpp.
const NAMES: [&str; 30] = [
    "a",
    "b",
    "c",
    "ab",
    "a-b",
    "a_b",
    "a b",
    "name",
    "type",
    "id",
    "items",
    "$defs",
    "definitions",
    "properties",
    "*",
    "",
    "é",
    "root",
    "space",
    "string",
    "date_time",
    "integral_part",
    "decimal-part",
    "ref-defs-a",
    "x\"y",
    "x\\y",
    "x]y",
    "^",
    "\u{0}",
    "-",
];
const FORMATS: [&str; 12] = [
    "date",
    "time",
    "date-time",
    "uuid",
    "email",
    "ipv4",
    "hostname",
    "duration",
    "uri",
    "regex",
    "int32",
    "uuid9",
];
const PIECES: [&str; 28] = [
    "a", "b", "aa", r"\d", r"\w", r"\s", ".", "[a-z]", "[^a]", r"[\w-]", "(a|b)", "(a|aa)", "(a?)",
    "(?:x|)", "|", "-", "^", "$", r"\.", "\"", r"\\", r"\n", "é", "(ab)", "(", ")", "[]a]",
    "(?=a)",
];
const TIMES: [&str; 12] = [
    "", "", "", "*", "+", "?", "{3}", "{2,}", "{0,9}", "{500}", "{0,3000}", "{9,2}",
];
const COUNTS: [i64; 12] = [
    0,
    1,
    2,
    3,
    5,
    9,
    10,
    100,
    999,
    2_000,
    100_000,
    4_000_000_000,
];
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    9,
    10,
    100,
    255,
    -100,
    65_536,
    999_999,
    1_000_000_000_000_000,
    -1_000_000_000_000_000,
    2_000_000_000_000_000_000,
    i64::MAX,
    i64::MIN,
    42,
];

/// A schema with definitions.
pub(crate) fn schema(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut root = node(u, 0)?;
    let n_defs = u.int_in_range(0..=6)?;
    if n_defs > 0
        && let Value::Object(root) = &mut root
    {
        let mut defs = Map::new();
        for _ in 0..n_defs {
            let def = node(u, 2)?;
            defs.insert(name(u)?, def);
        }
        let keyword = if u.ratio(1, 5)? {
            "definitions"
        } else {
            "$defs"
        };
        root.insert(keyword.to_owned(), defs.into());
    }
    Ok(root)
}

fn node(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let n = if depth >= MAX_DEPTH { 9 } else { 19 };
    let mut out = match u.int_in_range(0..=n)? {
        0 => json!({}),
        1 => json!({"type": kind(u)?}),
        2 => text(u)?,
        3 => number(u, "integer")?,
        4 => values(u)?,
        5 => json!({"$ref": reference(u)?}),
        6 => json!({"type": [kind(u)?, kind(u)?]}),
        7 => number(u, "number")?,
        8 => json!({"const": value(u)?}),
        9 => json!(u.arbitrary::<bool>()?),
        10 | 11 => list(u, depth)?,
        12 => json!({"anyOf": several(u, depth)?}),
        13 => json!({"oneOf": several(u, depth)?}),
        14 => json!({"allOf": several(u, depth)?}),
        _ => object(u, depth)?,
    };
    if u.ratio(1, 6)?
        && let Value::Object(out) = &mut out
    {
        // Whatever it is, something that does not belong there.
        let more = if depth < MAX_DEPTH {
            node(u, depth + 1)?
        } else {
            text(u)?
        };
        if let Value::Object(more) = more {
            out.extend(more);
        }
        extra(u, out)?;
    }
    Ok(out)
}

fn extra(u: &mut Unstructured<'_>, out: &mut Map<String, Value>) -> Result<()> {
    let (keyword, value) = match u.int_in_range(0..=9)? {
        0 => ("nullable", json!(true)),
        1 => ("not", json!({"type": "null"})),
        2 => ("description", json!("what it is")),
        3 => ("uniqueItems", json!(true)),
        4 => ("required", json!(names(u)?)),
        5 => ("patternProperties", json!({"^a": {"type": "string"}})),
        6 => ("if", json!({"type": "null"})),
        7 => ("$id", json!("https://example.org/x")),
        8 => ("propertyNames", json!({"pattern": "^a"})),
        _ => ("default", value(u)?),
    };
    out.insert(keyword.to_owned(), value);
    Ok(())
}

fn object(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut properties = Map::new();
    let many = if u.ratio(1, 60)? { 220 } else { 5 };
    for at in 0..u.int_in_range(0..=many)? {
        let inner = if at > 8 {
            json!({"type": "string"})
        } else {
            node(u, depth + 1)?
        };
        let name = if at > 8 { format!("p{at}") } else { name(u)? };
        properties.insert(name, inner);
    }
    let mut out = json!({"type": "object", "properties": properties});
    match u.int_in_range(0..=3)? {
        0 => out["required"] = json!(names(u)?),
        1 => out["required"] = json!(properties.keys().collect::<Vec<_>>()),
        2 => out["required"] = json!(properties.keys().take(1).collect::<Vec<_>>()),
        _ => {}
    }
    match u.int_in_range(0..=4)? {
        0 => out["additionalProperties"] = json!(false),
        1 => out["additionalProperties"] = json!(true),
        2 => out["additionalProperties"] = node(u, depth + 2)?,
        _ => {}
    }
    Ok(out)
}

fn list(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut out = json!({"type": "array", "items": node(u, depth + 1)?});
    if u.ratio(1, 3)? {
        out["minItems"] = json!(u.choose(&COUNTS)?);
    }
    if u.ratio(1, 3)? {
        out["maxItems"] = json!(u.choose(&COUNTS)?);
    }
    if u.ratio(1, 5)? {
        out["prefixItems"] = several(u, depth)?;
    }
    Ok(out)
}

fn several(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    let mut out = Vec::new();
    for _ in 0..u.int_in_range(1..=4)? {
        out.push(node(u, depth + 1)?);
    }
    if u.ratio(1, 40)? {
        out = vec![out[0].clone(); u.int_in_range(2..=300)?];
    }
    Ok(out.into())
}

fn text(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut out = json!({"type": "string"});
    match u.int_in_range(0..=3)? {
        0 => out["pattern"] = json!(pattern(u)?),
        1 => out["format"] = json!(u.choose(&FORMATS)?),
        2 => out["minLength"] = json!(u.choose(&COUNTS)?),
        _ => {}
    }
    if u.ratio(1, 3)? {
        out["maxLength"] = json!(u.choose(&COUNTS)?);
    }
    Ok(out)
}

fn pattern(u: &mut Unstructured<'_>) -> Result<String> {
    let mut out = String::new();
    if u.ratio(4, 5)? {
        out.push('^');
    }
    for _ in 0..u.int_in_range(0..=8)? {
        out.push_str(u.choose(&PIECES)?);
        out.push_str(u.choose(&TIMES)?);
    }
    if u.ratio(1, 4)? {
        out = format!("({out}){}", u.choose(&TIMES)?);
    }
    if u.ratio(4, 5)? {
        out.push('$');
    }
    Ok(out)
}

fn number(u: &mut Unstructured<'_>, kind: &str) -> Result<Value> {
    let mut out = json!({"type": kind});
    for keyword in [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ] {
        if u.ratio(1, 4)? {
            let is_fraction = u.ratio(1, 6)?;
            let n = if u.ratio(1, 2)? {
                *u.choose(&NUMBERS)?
            } else {
                u.arbitrary()?
            };
            out[keyword] = if is_fraction {
                json!(n as f64 + 0.5)
            } else {
                json!(n)
            };
        }
    }
    Ok(out)
}

fn values(u: &mut Unstructured<'_>) -> Result<Value> {
    let n = if u.ratio(1, 20)? {
        u.int_in_range(0..=600)?
    } else {
        u.int_in_range(0..=6)?
    };
    let mut out = Vec::new();
    for at in 0..n {
        out.push(if at > 6 {
            json!(format!("v{at}"))
        } else {
            value(u)?
        });
    }
    Ok(json!({"enum": out}))
}

fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    Ok(match u.int_in_range(0..=7)? {
        0 => Value::Null,
        1 => json!(u.arbitrary::<bool>()?),
        2 => json!(u.arbitrary::<i64>()?),
        3 => json!(name(u)?),
        4 => json!([name(u)?, 1.5]),
        5 => json!({name(u)?: 1}),
        _ => json!(*u.choose(&["red", "green", "blue", "\"", "\\", "\n"])?),
    })
}

fn kind(u: &mut Unstructured<'_>) -> Result<&'static str> {
    let kinds = [
        "string", "integer", "object", "array", "number", "boolean", "null",
    ];
    Ok(u.choose(&kinds)?)
}

fn name(u: &mut Unstructured<'_>) -> Result<String> {
    if u.ratio(1, 40)? {
        let character = *u.choose(&["x", "é", "_", "-"])?;
        let n = *u.choose(&[60, 64, 128, 129, 1_000, 60_000])?;
        return Ok(character.repeat(n));
    }
    Ok((*u.choose(&NAMES)?).to_owned())
}

fn names(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for _ in 0..u.int_in_range(0..=3)? {
        out.push(name(u)?);
    }
    Ok(out)
}

fn reference(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=9)? {
        0 => "#".to_owned(),
        1 => format!("#/properties/{}", name(u)?),
        2 => format!("#/definitions/{}", name(u)?),
        3 => format!("#/$defs/{}/properties/{}", name(u)?, name(u)?),
        4 => "#/$defs/a~1b".to_owned(),
        5 => "https://example.org/x".to_owned(),
        _ => format!(
            "#/$defs/{}",
            u.choose(&["a", "b", "c", "ab", "a-b", "a_b", "name"])?
        ),
    })
}
