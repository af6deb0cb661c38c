//! A header that lies, is cut or is hostile is refused, in time and memory that its own length bounds.

use std::io::Read;

use model_fetcher::gguf::{self as check, Header, Problem};
use proptest::prelude::*;
use testkit::fake_hub::File;
use testkit::tools::needs;
use tokio::process::Command;

use crate::support::{BINARY, FILE, fetch, hub_of, names, repository, run_by, settings};

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const Q4_0: u32 = 2;

/// A header and what follows it.
#[derive(Default)]
struct Forged {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data_bytes: usize,
}

impl Forged {
    fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        file.extend(self.tensors.concat());
        file.resize(file.len().next_multiple_of(32) + self.data_bytes, 0);
        file
    }

    fn verdict(&self) -> Result<Header, Problem> {
        let bytes = self.bytes();
        check::check(&bytes[..], bytes.len() as u64)
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(name.as_bytes()), &kind.to_le_bytes()[..], value].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name.as_bytes());
    bytes.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
    dimensions
        .iter()
        .for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

fn with_tensors(tensors: &[Vec<u8>]) -> Forged {
    Forged {
        tensors: tensors.to_vec(),
        data_bytes: 4096,
        ..Forged::default()
    }
}

#[tokio::test]
async fn an_empty_file_and_one_of_three_bytes_are_refused() {
    for start in [&b""[..], b"GGU"] {
        let (hub, folder) = hub_of(
            repository(vec![File::from_bytes(FILE, start.to_vec())]),
            Vec::new(),
        )
        .await;
        let error = fetch(&settings(&hub, &folder)).await.unwrap_err();
        assert_eq!(error.exit_code(), 65, "{error}");
        assert!(
            error
                .to_string()
                .contains("it looks like an empty or cut file"),
            "{error}"
        );
        assert_eq!(names(folder.path()), [""; 0]);
    }
}

#[test]
fn a_tensor_with_no_possible_shape_or_place_is_refused() {
    let whole = tensor("a", &[32, 2], Q4_0, 0);
    assert_eq!(
        with_tensors(&[whole.clone(), tensor("b", &[32], Q4_0, 64)])
            .verdict()
            .unwrap()
            .n_tensors,
        2
    );
    let mut many = string(b"a");
    many.extend(255_u32.to_le_bytes());
    many.extend([1; 4096]);
    for lie in [
        tensor("a", &[], Q4_0, 0),
        many,
        tensor("a", &[0], Q4_0, 0),
        tensor("a", &[32, 0], Q4_0, 0),
        tensor("a", &[1 << 32, 1 << 32], Q4_0, 0),
        tensor("a", &[u64::MAX], 0, 0),
        tensor("a", &[1 << 62, 2], 0, 0),
        tensor("a", &[33], Q4_0, 0),
        tensor("a", &[32], Q4_0, 1),
        tensor("a", &[32], Q4_0, 32),
        tensor("a", &[32], Q4_0, u64::MAX - 31),
        tensor(&"n".repeat(65), &[32], Q4_0, 0),
        [string(b"a"), 1_u32.to_le_bytes().to_vec()].concat(),
    ] {
        let verdict = with_tensors(std::slice::from_ref(&lie)).verdict();
        assert!(
            matches!(verdict, Err(Problem::Broken(_) | Problem::Truncated { .. })),
            "{lie:?}: {verdict:?}"
        );
    }
    for second in [
        tensor("b", &[32], Q4_0, 0),
        tensor("b", &[32], Q4_0, 32),
        tensor("b", &[32], Q4_0, 128),
    ] {
        let verdict = with_tensors(&[whole.clone(), second]).verdict();
        assert!(matches!(verdict, Err(Problem::Broken(_))), "{verdict:?}");
    }
    let beyond = Forged {
        data_bytes: 17,
        ..with_tensors(&[tensor("a", &[32], Q4_0, 0)])
    };
    assert!(matches!(beyond.verdict(), Err(Problem::Truncated { .. })));
}

#[test]
fn arrays_within_arrays_and_names_that_are_no_text_are_refused() {
    let nested = (0..1000).fold(Vec::new(), |inner, _| {
        [&ARRAY.to_le_bytes()[..], &1_u64.to_le_bytes(), &inner].concat()
    });
    let mut no_text = string(b"\xff\xfe");
    no_text.extend(7_u32.to_le_bytes());
    no_text.push(1);
    for lie in [
        key("k", ARRAY, &nested),
        no_text,
        key(&"k".repeat(1 << 20), 7, &[1]),
    ] {
        let verdict = Forged {
            keys: vec![lie],
            ..Forged::default()
        }
        .verdict();
        assert!(matches!(verdict, Err(Problem::Broken(_))), "{verdict:?}");
    }
}

#[test]
fn words_of_the_file_are_escaped_and_a_long_template_is_passed_over() {
    let architecture = key("general.architecture", STRING, &string(b"lla\x1b[2Jma\n"));
    let template = key(
        "tokenizer.chat_template",
        STRING,
        &string(&vec![b'x'; 1 << 20]),
    );
    let forged = Forged {
        keys: vec![architecture, template],
        ..Forged::default()
    };
    assert_eq!(forged.verdict().unwrap().architecture, "lla\\u{1b}[2Jma\\n");
    let error = with_tensors(&[tensor("a\x1b[2J", &[0], Q4_0, 0)])
        .verdict()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "is not a usable GGUF file: tensor a\\u{1b}[2J has no possible shape"
    );
}

/// A file with keys of every type and three tensors.
fn rich() -> Forged {
    let words = (0..5_u64)
        .flat_map(|n| string(format!("word {n}").as_bytes()))
        .collect::<Vec<_>>();
    let array = |kind: u32, n: u64, elements: &[u8]| {
        [&kind.to_le_bytes()[..], &n.to_le_bytes(), elements].concat()
    };
    let widths = [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 4),
        (5, 4),
        (6, 4),
        (7, 1),
        (10, 8),
        (11, 8),
        (12, 8),
    ];
    let mut keys: Vec<_> = widths
        .iter()
        .map(|(kind, width)| key(&format!("value.{kind}"), *kind, &vec![1; *width]))
        .collect();
    keys.push(key("general.architecture", STRING, &string(b"llama")));
    keys.push(key("general.alignment", 4, &64_u32.to_le_bytes()));
    keys.push(key("tokens", ARRAY, &array(STRING, 5, &words)));
    keys.push(key("scores", ARRAY, &array(6, 3, &[0; 12])));
    let tensors = vec![
        tensor("a", &[32, 2], Q4_0, 0),
        tensor("b", &[7], 0, 64),
        tensor("c", &[256, 2], 12, 128),
    ];
    Forged {
        keys,
        tensors,
        data_bytes: 512,
    }
}

#[test]
fn a_header_cut_at_any_byte_is_refused_and_a_header_that_is_not_all_there_asks_for_more() {
    let whole = rich().bytes();
    let size = whole.len() as u64;
    let end = check::check(&whole[..], size).unwrap().end;
    let end = usize::try_from(end).unwrap();
    let header = end - 128 - 288;
    for cut in 0..end {
        let start = &whole[..cut];
        let cut_file = check::check(start, cut as u64);
        assert!(
            matches!(
                cut_file,
                Err(Problem::Truncated { .. } | Problem::LooksLike(_))
            ),
            "{cut}: {cut_file:?}"
        );
        // The same bytes as the first ones of a file that goes on.
        let first_look = check::check(start, size);
        match cut {
            _ if cut + 64 <= header => {
                assert!(
                    matches!(first_look, Err(Problem::NeedsMore)),
                    "{cut}: {first_look:?}"
                );
            }
            _ if cut >= header => assert!(first_look.is_ok(), "{cut}: {first_look:?}"),
            _ => {}
        }
    }
}

/// Endless bytes after a start, counted.
struct Counted<'a> {
    start: &'a [u8],
    n_read: &'a mut u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_start = self.start.read(buffer)?;
        buffer[n_start..].fill(0);
        *self.n_read += buffer.len() as u64;
        Ok(buffer.len())
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_judged_within_the_files_size(
        mut start in proptest::collection::vec(any::<u8>(), 0..600),
        counts in (any::<u64>(), any::<u64>(), 0_u32..64, 0_u32..64),
        size in 0_u64..100_000,
    ) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((counts.0 >> counts.2).to_le_bytes());
        file.extend((counts.1 >> counts.3).to_le_bytes());
        file.append(&mut start);
        let mut n_read = 0;
        let _verdict = check::check(Counted { start: &file, n_read: &mut n_read }, size);
        // io::copy asks for 8 KiB at a time.
        prop_assert!(n_read <= size + (8 << 10), "{n_read} bytes were read of {size}");
    }

    #[test]
    fn a_rich_header_with_any_byte_changed_is_judged_without_a_panic(at in 0_usize..1_400, to in any::<u8>()) {
        let mut bytes = rich().bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        let _no_panic = check::check(&bytes[..], bytes.len() as u64);
    }
}

#[tokio::test]
async fn a_header_that_claims_gigabytes_is_refused_in_little_memory() {
    if !needs("prlimit", &["--as=400000000", BINARY, "--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let n = 1_u64 << 40;
    for (lie, n_bytes) in [
        (key("k", STRING, &n.to_le_bytes()), n),
        (key("general.architecture", STRING, &n.to_le_bytes()), n),
        (
            key(
                "k",
                ARRAY,
                &[&STRING.to_le_bytes()[..], &n.to_le_bytes()].concat(),
            ),
            1 << 20,
        ),
        (
            key(
                "k",
                ARRAY,
                &[&12_u32.to_le_bytes()[..], &(n / 8).to_le_bytes()].concat(),
            ),
            1 << 20,
        ),
        ([n.to_le_bytes().to_vec()].concat(), n),
    ] {
        let path = folder.path().join("hostile.gguf");
        std::fs::write(
            &path,
            Forged {
                keys: vec![lie.clone()],
                ..Forged::default()
            }
            .bytes(),
        )
        .unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        // Sparse: it says that it holds what the header claims.
        file.set_len(n_bytes.min(1 << 30)).unwrap();
        let began = std::time::Instant::now();
        let mut import = Command::new(BINARY);
        import
            .arg("import")
            .arg(&path)
            .env("HF_FILENAME", FILE)
            .env("MODELS_DIR", folder.path());
        let output = run_by("prlimit", &["--as=400000000"], &import)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(65), "{lie:?}: {output:?}");
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
