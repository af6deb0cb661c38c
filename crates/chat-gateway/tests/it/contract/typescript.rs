//! The TypeScript types of the frames, from ts-rs, laid out for people.

use std::collections::BTreeMap;

use chat_gateway::protocol::record::{Conversation, Message};
use chat_gateway::protocol::v2::{ClientFrame, ServerFrame};
use ts_rs::{Config, TS, TypeVisitor};

const HEAD: &str = "/**
 * The frames of version 2 of the chat protocol, and what the HTTP API shows of conversations.
 * Generated from the gateway's types by `cargo xtask contract --write`.
 */
";
/// The longest line, in characters: that of the page's formatter.
const LINE: usize = 110;

/// The file: the frames first, then what they hold, by name.
pub(super) fn types() -> String {
    let mut found = Found {
        config: Config::default(),
        types: BTreeMap::new(),
    };
    let mut file = HEAD.to_owned();
    file.push_str(&found.one::<ClientFrame>());
    file.push_str(&found.one::<ServerFrame>());
    found.visit::<Conversation>();
    found.visit::<Message>();
    for text in found.types.values() {
        file.push_str(text);
    }
    file
}

struct Found {
    config: Config,
    types: BTreeMap<String, String>,
}

impl Found {
    /// A type by itself; what it refers to is noted.
    fn one<T: TS + 'static + ?Sized>(&mut self) -> String {
        T::visit_dependencies(self);
        let declared = T::decl(&self.config);
        let mut reader = Reader { rest: &declared };
        reader.skip("type ");
        let name = reader.until(" = ").to_owned();
        reader.skip(" = ");
        let docs = T::docs().as_deref().map(doc).unwrap_or_default();
        let kind = print(
            &reader.kind(),
            0,
            format!("export type {name} = ").len() + 1,
        );
        let gap = if kind.starts_with('\n') { "" } else { " " };
        format!("\n{docs}export type {name} ={gap}{kind};\n")
    }
}

impl TypeVisitor for Found {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        let name = T::name(&self.config);
        if T::output_path().is_none() || self.types.contains_key(&name) {
            return;
        }
        // Noted first: a type may refer to itself.
        self.types.insert(name.clone(), String::new());
        let text = self.one::<T>();
        self.types.insert(name, text);
    }
}

/// A comment on one line, if it is one line.
fn doc(comment: &str) -> String {
    let lines: Vec<&str> = comment.trim().lines().map(str::trim).collect();
    match lines.as_slice() {
        ["/**", line, "*/"] => format!("/** {} */\n", line.trim_start_matches("* ")),
        lines => lines.join("\n").replace("\n*", "\n *") + "\n",
    }
}

/// Alternatives, each of things that are true at once.
type Kind = Vec<Vec<Atom>>;

enum Atom {
    Text(String),
    Object(Vec<Field>),
}

struct Field {
    docs: String,
    name: String,
    kind: Kind,
}

/// Reads what ts-rs writes.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, text: &str) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(text.trim_start());
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: &str) -> &'a str {
        let at = self.rest.find(end).unwrap();
        let before = self.rest.split_at(at);
        self.rest = before.1;
        before.0
    }

    fn kind(&mut self) -> Kind {
        let mut alternatives = Vec::new();
        loop {
            let mut atoms = vec![self.atom()];
            while self.skip("&") {
                atoms.push(self.atom());
            }
            alternatives.push(atoms);
            if !self.skip("|") {
                return alternatives;
            }
        }
    }

    fn atom(&mut self) -> Atom {
        if !self.skip("{") {
            let end = self.rest.find(['|', '&', ',', '}', ';', ' ']).unwrap();
            let atom = self.rest.split_at(end);
            self.rest = atom.1;
            return Atom::Text(atom.0.to_owned());
        }
        let mut fields = Vec::new();
        while !self.skip("}") {
            let mut docs = String::new();
            if self.skip("/**") {
                docs = doc(&format!("/**{}*/", self.until("*/")));
                self.skip("*/");
            }
            self.rest = self.rest.trim_start();
            let name = self.until(":").replace('"', "");
            self.skip(":");
            let kind = self.kind();
            self.skip(",");
            fields.push(Field { docs, name, kind });
        }
        Atom::Object(fields)
    }
}

/// A type, `depth` deep in others, behind `used` characters of its line.
fn print(kind: &Kind, depth: usize, used: usize) -> String {
    let one_line: Vec<String> = kind
        .iter()
        .map(|atoms| both(atoms, depth, kind.len()))
        .collect();
    let text = one_line.join(" | ");
    if kind.len() == 1 || (!text.contains('\n') && used + text.len() < LINE) {
        return text;
    }
    let gap = "  ".repeat(depth + 1);
    let lines = kind
        .iter()
        .map(|atoms| format!("\n{gap}| {}", both(atoms, depth + 2, kind.len())));
    lines.collect()
}

fn both(atoms: &[Atom], depth: usize, alternatives: usize) -> String {
    let texts: Vec<String> = atoms.iter().map(|atom| one(atom, depth)).collect();
    let text = texts.join(" & ");
    if texts.len() > 1 && alternatives > 1 {
        return format!("({text})");
    }
    text
}

fn one(atom: &Atom, depth: usize) -> String {
    let fields = match atom {
        Atom::Text(text) => return text.clone(),
        Atom::Object(fields) => fields,
    };
    let lines: Vec<String> = fields.iter().map(|field| line(field, depth + 1)).collect();
    if let [line] = lines.as_slice()
        && fields[0].docs.is_empty()
    {
        return format!("{{ {line} }}");
    }
    let gap = "  ".repeat(depth + 1);
    let lines = fields.iter().zip(&lines).map(|(field, line)| {
        let docs = field.docs.lines().map(|doc| format!("{gap}{doc}\n"));
        format!("{}{gap}{line};\n", docs.collect::<String>())
    });
    format!("{{\n{}{}}}", lines.collect::<String>(), "  ".repeat(depth))
}

fn line(field: &Field, depth: usize) -> String {
    let used = 2 * depth + field.name.len() + 2;
    format!("{}: {}", field.name, print(&field.kind, depth, used))
}
