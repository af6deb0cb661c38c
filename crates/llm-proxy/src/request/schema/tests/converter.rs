//! What passes, given to llama.cpp's own converter. `cargo xtask schemas` compiles that and runs these.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use arbitrary::Unstructured;
use serde_json::{Value, json};

use super::super::converter::{Conversion, Converted, Converter};
use super::super::generate;
use super::super::{Schema, width};
use super::{harmful, real_life};

/// Bytes that one schema is generated from, at most.
const MAX_ENTROPY: usize = 2_048;
/// The longest body of a request, by default.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// More than this for one schema would be felt by others.
const MAX_SECONDS: f64 = 0.5;
/// What the converter may keep, and what it may use for one schema.
const MAX_GROWTH_KIB: u64 = 200 * 1024;
/// Ways that the walk may see beyond what was computed: the places between tokens of JSON.
const SLACK: usize = 8;

#[expect(
    clippy::disallowed_methods,
    reason = "set by cargo xtask schemas for this test alone"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn converter() -> Converter {
    let program = setting("CORRAL_SCHEMA_CONVERTER").expect("run this with `cargo xtask schemas`");
    Converter::new(&PathBuf::from(program))
}

/// Numbers that look random and are the same each time (xorshift64*).
struct Entropy(u64);

impl Entropy {
    fn bytes(&mut self) -> Vec<u8> {
        let n = 32 + (self.next() as usize) % MAX_ENTROPY;
        let mut bytes = Vec::with_capacity(n + 8);
        while bytes.len() < n {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// The figures of all that was converted.
#[derive(Debug, Default)]
struct Figures {
    n: usize,
    /// Those that no body can hold.
    n_too_long: usize,
    n_passed: usize,
    n_strict: usize,
    slowest_rebuild: f64,
    /// What took so long.
    slowest: String,
    slowest_convert: f64,
    slowest_parse: f64,
    slowest_walk: f64,
    most_rules: usize,
    most_stacks: usize,
    most_bytes: usize,
    first_kib: u64,
    last_kib: u64,
    peak_kib: u64,
    refusals: BTreeMap<String, usize>,
}

impl Figures {
    fn add(&mut self, converted: &Converted) {
        self.n_passed += 1;
        self.slowest_convert = self.slowest_convert.max(converted.convert_s);
        self.slowest_parse = self.slowest_parse.max(converted.parse_s);
        self.slowest_walk = self.slowest_walk.max(converted.walk_s);
        self.most_rules = self.most_rules.max(converted.rules);
        self.most_stacks = self.most_stacks.max(converted.stacks);
        self.most_bytes = self.most_bytes.max(converted.grammar_bytes);
        if self.first_kib == 0 {
            self.first_kib = converted.now_kib;
        }
        self.last_kib = converted.now_kib;
        self.peak_kib = self.peak_kib.max(converted.peak_kib);
    }
}

/// What `schema` costs the converter, which must take it.
fn check(converter: &mut Converter, given: &Value, schema: &Schema) -> Converted {
    let sent = serde_json::to_string(schema).unwrap();
    let converted = match converter.convert(&sent) {
        Conversion::Converted(converted) => converted,
        other => panic!("{other:?}\n  for {given:.900}\n  sent {sent:.1500}"),
    };
    assert!(
        converted.rules <= schema.n_rules(),
        "{} > {}: {sent:.1500}",
        converted.rules,
        schema.n_rules()
    );
    let width = width::of(&schema.root, &schema.defs);
    assert!(
        converted.stacks <= width + SLACK,
        "{} > {width}: {sent:.1500}",
        converted.stacks
    );
    let slowest = converted.convert_s.max(converted.parse_s);
    assert!(slowest < MAX_SECONDS, "{slowest} s: {sent:.1500}");
    converted
}

/// What was built is built again as it is. Patterns are left out,
/// because what leaves is llama.cpp's dialect, and definitions, some of which are no longer referred to.
fn check_again(schema: &Schema) {
    let sent = serde_json::to_value(schema).unwrap();
    let text = sent.to_string();
    if text.contains("\"pattern\"") || text.contains("\"$defs\"") {
        return;
    }
    match Schema::from_value(&sent, true) {
        Ok(again) => assert_eq!(json!(again).to_string(), text),
        Err(error) => panic!("{error:?} for {text:.900}"),
    }
}

#[test]
#[ignore = "needs llama.cpp's converter: cargo xtask schemas"]
fn whatever_passes_is_converted_quickly_within_its_bounds() {
    let mut converter = converter();
    let count = setting("CORRAL_SCHEMA_COUNT").map_or(100_000, |n| n.parse().unwrap());
    let seed = setting("CORRAL_SCHEMA_SEED").map_or(0x9E37_79B9, |n| n.parse().unwrap());
    let mut entropy = Entropy(seed);
    let mut figures = Figures::default();
    for _ in 0..count {
        let bytes = entropy.bytes();
        let given = generate::schema(&mut Unstructured::new(&bytes)).unwrap();
        figures.n += 1;
        if given.to_string().len() > MAX_BODY_BYTES {
            figures.n_too_long += 1;
            continue;
        }
        let began = Instant::now();
        let schema = Schema::from_value(&given, false);
        let took = began.elapsed().as_secs_f64();
        if took > figures.slowest_rebuild {
            figures.slowest_rebuild = took;
            figures.slowest = given.to_string();
        }
        match schema {
            Ok(schema) => {
                figures.add(&check(&mut converter, &given, &schema));
                figures.n_strict += usize::from(Schema::from_value(&given, true).is_ok());
                check_again(&schema);
            }
            Err(error) => {
                let has_digits = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
                let words = error.problem.split(' ').filter(|word| !has_digits(word));
                let words: Vec<&str> = words.take(4).collect();
                *figures.refusals.entry(words.join(" ")).or_default() += 1;
            }
        }
    }
    println!("{figures:#?}");
    assert!(
        figures.last_kib.saturating_sub(figures.first_kib) < MAX_GROWTH_KIB,
        "{figures:#?}"
    );
    assert!(figures.peak_kib < MAX_GROWTH_KIB, "{figures:#?}");
}

#[test]
#[ignore = "needs llama.cpp's converter: cargo xtask schemas"]
fn real_schemas_and_the_largest_that_pass_are_converted() {
    let mut converter = converter();
    for given in real_life::all()
        .into_iter()
        .chain(harmful::just_small_enough())
    {
        let schema = Schema::from_value(&given, false)
            .unwrap_or_else(|error| panic!("{error:?} for {given:.400}"));
        let converted = check(&mut converter, &given, &schema);
        println!("{converted:?} of {} rules: {given:.100}", schema.n_rules());
    }
}

/// For looking at: a file of schemas, one a line, and what each becomes.
#[test]
#[ignore = "shows what CORRAL_SCHEMA_FILE becomes"]
fn schemas_of_a_file_are_shown() {
    let Some(path) = setting("CORRAL_SCHEMA_FILE") else {
        return;
    };
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let given: Value = serde_json::from_str(line).unwrap();
        match Schema::from_value(&given, false) {
            Ok(schema) => println!(
                "{}\n  {:?}",
                serde_json::to_string(&schema).unwrap(),
                schema.unheld()
            ),
            Err(error) => println!("{error:?}"),
        }
    }
}
