//! A model in several files is imported whole or not at all, and is then in place for a start without the Hub.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use model_fetcher::{Entry, ModelsLock};
use rustix::process::Signal;
use tempfile::TempDir;
use testkit::fake_hub::File;
use testkit::gguf;
use tokio::process::Command;

use crate::support::{
    BINARY, REPOSITORY, fetch_all, hub_of, import, import_of, names, repository, settings, signal,
};

const NOBODY: &str = "http://127.0.0.1:9";
const SIZES: [usize; 3] = [3_000, 2_000, 2_500];

fn part_name(number: u32) -> String {
    format!("m-Q8_0-{number:05}-of-00003.gguf")
}

fn part(number: u32) -> Vec<u8> {
    let size = SIZES[number as usize - 1];
    gguf::with_numbers(size, &[("split.no", number - 1), ("split.count", 3)])
}

/// A folder with all three parts, and their paths.
fn stick() -> (TempDir, Vec<PathBuf>) {
    let usb = tempfile::tempdir().unwrap();
    let paths = (1..=3).map(|number| {
        let path = usb.path().join(part_name(number));
        std::fs::write(&path, part(number)).unwrap();
        path
    });
    let paths = paths.collect();
    (usb, paths)
}

fn files(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.file.as_str()).collect()
}

/// What importing `from` as the set says, after which nothing may be there.
async fn refused(from: &[&Path], folder: &TempDir) -> (u8, String) {
    let error = import(&import_of(from, folder, &part_name(1)))
        .await
        .unwrap_err();
    assert_eq!(names(folder.path()), [""; 0], "{error}");
    (error.exit_code(), error.to_string())
}

#[tokio::test]
async fn a_set_is_imported_by_folder_or_files_and_then_costs_no_request() {
    let (usb, paths) = stick();
    let all = (1..=3).map(|number| File::from_bytes(&part_name(number), part(number)));
    let (hub, _) = hub_of(repository(all.collect()), Vec::new()).await;
    let names_of_all: Vec<_> = (1..=3).map(part_name).collect();
    let paths: Vec<&Path> = paths.iter().rev().map(PathBuf::as_path).collect();
    for from in [&[usb.path()][..], &paths] {
        let folder = tempfile::tempdir().unwrap();
        let entries = import(&import_of(from, &folder, &part_name(1)))
            .await
            .unwrap();
        assert_eq!(files(&entries), names_of_all);
        assert_eq!(names(folder.path()), names_of_all);
        for number in 1..=3 {
            let published = std::fs::read(folder.path().join(part_name(number))).unwrap();
            assert!(published == part(number));
        }
        let mut wanted = settings(&hub, &folder);
        wanted.choice = part_name(1).parse().unwrap();
        wanted.endpoint = NOBODY.parse().unwrap();
        assert_eq!(fetch_all(&wanted).await.unwrap(), entries);
        let lock = ModelsLock::load(folder.path()).unwrap();
        let locked: Vec<_> = lock.models()[0]
            .files
            .iter()
            .map(|file| file.file.as_str())
            .collect();
        assert_eq!(locked, names_of_all);
    }
    assert_eq!(hub.requests(), []);
}

#[tokio::test]
async fn a_set_is_known_by_its_headers_whatever_its_files_are_called() {
    let usb = tempfile::tempdir().unwrap();
    for (name, number) in [("b.gguf", 1), ("c.gguf", 2), ("a.gguf", 3)] {
        std::fs::write(usb.path().join(name), part(number)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let wanted = import_of(&[usb.path()], &folder, &part_name(1));
    assert_eq!(import(&wanted).await.unwrap().len(), 3);
    for number in 1..=3 {
        let published = std::fs::read(folder.path().join(part_name(number))).unwrap();
        assert!(published == part(number));
    }
}

#[tokio::test]
async fn a_part_without_the_others_is_refused_with_their_names() {
    let (usb, _) = stick();
    let first = usb.path().join(part_name(1));
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = refused(&[&first], &folder).await;
    let expected = format!(
        "{} lacks {} and {} of the 3 parts of {}: a set is imported whole or not at all; name all its files, or the folder \
         that they are in",
        first.display(),
        part_name(2),
        part_name(3),
        part_name(1)
    );
    assert_eq!((code, said), (64, expected.replace(" and ", ", ")));
}

#[tokio::test]
async fn a_part_under_the_name_of_another_is_refused() {
    let (usb, paths) = stick();
    let folder = tempfile::tempdir().unwrap();
    // Part 2 alone, first under its own name and then under that of part 1.
    assert_eq!(refused(&[&paths[1]], &folder).await.0, 64);
    std::fs::copy(&paths[1], &paths[0]).unwrap();
    assert_eq!(refused(&[&paths[0]], &folder).await.0, 64);
    let (code, said) = refused(&[usb.path()], &folder).await;
    assert_eq!(
        (code, said),
        (
            65,
            format!(
                "{} is not a usable GGUF file: by its name it is part 1 of 3, by its header part 2 of 3: nothing was \
                 published; give each file of the set the name that it has on the Hub",
                paths[0].display()
            )
        )
    );
}

#[tokio::test]
async fn a_part_does_not_pass_for_a_model_in_one_file() {
    let (usb, _) = stick();
    let first = usb.path().join(part_name(1));
    let folder = tempfile::tempdir().unwrap();
    let error = import(&import_of(&[&first], &folder, "m.gguf"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 65);
    assert!(
        error
            .to_string()
            .contains("by its name it is a model in one file, by its header part 1 of 3"),
        "{error}"
    );
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn a_cut_part_parts_of_two_sets_and_a_stray_file_are_refused() {
    let (usb, paths) = stick();
    let folder = tempfile::tempdir().unwrap();
    let other = usb.path().join("other.gguf");
    std::fs::write(&other, gguf::tiny(1_000)).unwrap();
    let (code, said) = refused(&[&paths[0], &paths[1], &paths[2], &other], &folder).await;
    assert_eq!(code, 64);
    assert!(
        said.contains("other.gguf has no place in m-Q8_0-00001-of-00003.gguf"),
        "{said}"
    );
    let mixed = usb.path().join("x-Q4_0-00003-of-00003.gguf");
    std::fs::rename(&paths[2], &mixed).unwrap();
    let (code, said) = refused(&[&paths[0], &paths[1], &mixed], &folder).await;
    assert_eq!(code, 64);
    assert!(said.contains("are parts of different sets"), "{said}");
    std::fs::write(&paths[2], &part(3)[..2_499]).unwrap();
    let (code, said) = refused(&[&paths[0], &paths[1], &paths[2]], &folder).await;
    assert_eq!(code, 65);
    assert!(said.contains("is cut off"), "{said}");
}

#[tokio::test]
async fn one_digest_for_a_set_is_refused_with_what_to_do() {
    let (usb, _) = stick();
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = import_of(&[usb.path()], &folder, &part_name(1));
    wanted.pin = Some("ab".repeat(32).parse().unwrap());
    let error = import(&wanted).await.unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert!(
        error
            .to_string()
            .contains("first copy the models.lock of the machine"),
        "{error}"
    );
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn the_lock_of_another_machine_judges_every_part() {
    let (usb, paths) = stick();
    let all = (1..=3).map(|number| File::from_bytes(&part_name(number), part(number)));
    let (hub, first) = hub_of(repository(all.collect()), Vec::new()).await;
    let mut online = settings(&hub, &first);
    online.choice = part_name(1).parse().unwrap();
    fetch_all(&online).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::read(first.path().join("models.lock")).unwrap();
    std::fs::write(folder.path().join("models.lock"), &lock).unwrap();
    // A flipped bit in the last part: its header is fine.
    let mut damaged = part(3);
    damaged[2_000] ^= 1;
    std::fs::write(&paths[2], damaged).unwrap();
    let (code, said) = refused(&[usb.path()], &folder).await;
    assert_eq!(code, 65);
    assert!(
        said.contains("so this copy is damaged: copy it again"),
        "{said}"
    );
    std::fs::write(&paths[2], part(3)).unwrap();
    let wanted = import_of(&[usb.path()], &folder, &part_name(1));
    let entries = import(&wanted).await.unwrap();
    assert!(entries.iter().all(|entry| entry.checked));
    assert_eq!(
        std::fs::read(folder.path().join("models.lock")).unwrap(),
        lock
    );
}

#[tokio::test]
async fn the_projector_in_the_folder_comes_along_when_it_is_wanted() {
    let (usb, _) = stick();
    std::fs::write(usb.path().join("mmproj-F16.gguf"), gguf::tiny(1_000)).unwrap();
    let (hub, folder) = hub_of(repository(Vec::new()), Vec::new()).await;
    let mut wanted = import_of(&[usb.path()], &folder, &part_name(1));
    wanted.projector = true;
    let entries = import(&wanted).await.unwrap();
    assert_eq!(files(&entries)[3], "mmproj-F16.gguf");
    let mut offline = settings(&hub, &folder);
    offline.choice = part_name(1).parse().unwrap();
    offline.projector = true;
    assert_eq!(fetch_all(&offline).await.unwrap(), entries);
    assert_eq!(hub.requests(), []);
    // Without one in the folder there is nothing to import.
    let (usb, _) = stick();
    wanted.from = vec![usb.path().to_owned()];
    assert_eq!(import(&wanted).await.unwrap_err().exit_code(), 64);
}

#[tokio::test]
async fn an_interrupted_import_leaves_no_part_of_the_set() {
    let (usb, paths) = stick();
    // Long enough to be met: what follows the last tensor is copied too.
    let last = std::fs::File::options()
        .write(true)
        .open(&paths[2])
        .unwrap();
    last.set_len(4 << 30).unwrap();
    for (how, code) in [(Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(BINARY)
            .env_clear()
            .env("HF_REPO_ID", REPOSITORY)
            .env("HF_FILENAME", part_name(1))
            .env("MODELS_DIR", folder.path())
            .arg("import")
            .arg(usb.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while !folder.path().join(".import-2.part").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
            tokio::task::yield_now().await;
        }
        signal(&child, how);
        assert_eq!(child.wait().await.unwrap().code(), code);
        let left = names(folder.path());
        let visible: Vec<_> = left.iter().filter(|name| !name.starts_with('.')).collect();
        assert_eq!(visible, [""; 0]);
        if code.is_some() {
            assert_eq!(left, [""; 0]);
        }
    }
}
