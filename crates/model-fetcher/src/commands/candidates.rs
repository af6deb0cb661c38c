//! Which of the files on a disk make up a model: by their names and by what their headers say of themselves.
//!
//! A set counts only whole. Nothing is written here, and no file is read beyond its header.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::gguf::{Header, Problem};
use crate::hub::advice::{missed, some_of};
use crate::judge::header::{check_gguf, fits_in_set};
use crate::judge::memory::PROJECTOR;
use crate::names::choice::{Choice, Miss, is_projector, projector_beside};
use crate::names::{FileName, nearest};

/// How deep folders are searched.
const MAX_DEPTH: usize = 8;
/// The most GGUF files that are looked at.
const MAX_CANDIDATES: usize = 5000;

/// How many names are offered for one that is not there.
const NEAREST: usize = 5;

/// A GGUF file on a disk, or what has the name of one.
#[derive(Debug)]
pub(crate) struct FileOnDisk {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Its path below the folder that was named, or its own name.
    name: Option<FileName>,
    /// Whether the file itself was named, not its folder.
    is_named: bool,
    header: Result<Header, Problem>,
}

/// A candidate that was chosen.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The name that it is published under.
    pub(crate) file: FileName,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// What its header says.
    pub(crate) header: Header,
}

/// The files that were named, and all GGUF files in the folders that were.
///
/// # Errors
///
/// When one of them cannot be read.
pub(crate) async fn gather(from: &[PathBuf]) -> Result<Vec<FileOnDisk>, Error> {
    let mut found = Vec::new();
    for path in from {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            search(path, path, 0, &mut found)?;
        } else if metadata.is_file() {
            let name = path.file_name().unwrap_or_default();
            let name = name.to_str().and_then(|name| name.parse().ok());
            found.push((path.clone(), name, metadata.len(), true));
        } else {
            let path = path.display();
            return Err(Error::Settings(format!(
                "{path} is neither a file nor a folder: name a GGUF file"
            )));
        }
    }
    let mut candidates = Vec::new();
    for (path, name, size, is_named) in found {
        candidates.push(FileOnDisk {
            header: check_gguf(&path, size, size).await,
            path,
            size,
            name,
            is_named,
        });
    }
    Ok(candidates)
}

/// The GGUF files in `folder`, which is in the folder `top` that was named.
fn search(
    top: &Path,
    folder: &Path,
    depth: usize,
    found: &mut Vec<(PathBuf, Option<FileName>, u64, bool)>,
) -> Result<(), Error> {
    let items = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    for item in items {
        let path = item.map_err(|error| unreadable(folder, &error))?.path();
        // Follows links: the Hub's own clients keep a model as links to its files.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() && depth < MAX_DEPTH {
            search(top, &path, depth + 1, found)?;
        }
        let name = path.strip_prefix(top).ok().and_then(Path::to_str);
        let name: Option<FileName> = name.and_then(|name| name.parse().ok());
        if metadata.is_file() && name.is_some() {
            found.push((path, name, metadata.len(), false));
        }
        if found.len() > MAX_CANDIDATES {
            let top = top.display();
            return Err(Error::Settings(format!(
                "{top} holds more than {MAX_CANDIDATES} GGUF files: name the folder of the one model"
            )));
        }
    }
    Ok(())
}

/// Those of the `candidates` that are the model of `choice`, in the order of its parts, and its projector. `place` is
/// where they are, for people.
///
/// # Errors
///
/// When they are not all there, are other parts than their names say, or one that was named has no place in the model.
pub(crate) fn choose(
    place: &str,
    choice: &Choice,
    projector: bool,
    candidates: Vec<FileOnDisk>,
) -> Result<Vec<Chosen>, Error> {
    let first = first_file(place, choice, &candidates)?;
    let parts = first.parts();
    let mut taken = Vec::new();
    let mut missing = Vec::new();
    for file in &parts {
        match find(file, &candidates) {
            Some(n) => taken.push((file.clone(), n)),
            None => missing.push(file.to_string()),
        }
    }
    if parts.len() == 1 && !missing.is_empty() {
        let names = candidates.iter().filter_map(FileOnDisk::name);
        let miss = Miss::Name(nearest(first.as_str(), names, NEAREST));
        return Err(missed(place, first.as_str(), miss));
    }
    if !missing.is_empty() {
        return Err(Error::Settings(format!(
            "{place} lacks {} of the {} parts of {choice}: a set is imported whole or not at all; name all its files, or \
             the folder that they are in",
            some_of(&missing),
            parts.len()
        )));
    }
    belong_together(&taken, &candidates)?;
    if projector {
        let found = find_projector(&first, taken[0].1, &candidates);
        taken.push(found.ok_or_else(|| missed(place, first.as_str(), Miss::Projector))?);
    }
    let stray = (0..candidates.len()).find(|n| {
        let is_taken = taken.iter().any(|(_, other)| other == n);
        candidates[*n].is_named && !is_taken
    });
    if let Some(stray) = stray {
        return Err(Error::Settings(format!(
            "{} has no place in {choice}: leave it out; a projector counts with HF_MMPROJ=auto, another model is \
             imported with its own HF_FILENAME",
            candidates[stray].path.display()
        )));
    }
    let mut candidates: Vec<_> = candidates.into_iter().map(Some).collect();
    taken
        .into_iter()
        .map(|(file, n)| {
            let candidate = candidates[n].take().expect("no candidate is taken twice");
            candidate.publish_as(file)
        })
        .collect()
}

impl FileOnDisk {
    fn name(&self) -> Option<&str> {
        self.name.as_ref().map(FileName::as_str)
    }

    fn base(&self) -> Option<&str> {
        self.name.as_ref().map(FileName::base)
    }

    fn is_projector(&self) -> bool {
        let by_header = self
            .header
            .as_ref()
            .is_ok_and(|header| header.architecture == PROJECTOR);
        by_header || self.name.as_ref().is_some_and(is_projector)
    }

    /// Whether its header says that it is this part, of a set of that many.
    fn is_part(&self, (number, count): (u32, u32)) -> bool {
        let part = Some((u64::from(number - 1), u64::from(count)));
        self.header
            .as_ref()
            .is_ok_and(|header| header.split == part)
    }

    /// Checks that it is a model, and the part that `file` says.
    fn publish_as(self, file: FileName) -> Result<Chosen, Error> {
        let count = self.header.as_ref().ok().and_then(|header| header.split);
        let advice = match count {
            Some(_) if file.part().1 == 1 => {
                "set HF_FILENAME to the first file of its set, as in x-00001-of-00003.gguf, and name all its files or \
                 their folder"
            }
            Some(_) => "give each file of the set the name that it has on the Hub",
            None => "name the GGUF file itself",
        };
        let header = self
            .header
            .and_then(|header| fits_in_set(header, file.part()))
            .map_err(|problem| Error::NotGguf {
                what: self.path.display().to_string(),
                problem,
                advice,
            })?;
        Ok(Chosen {
            file,
            path: self.path,
            size: self.size,
            header,
        })
    }
}

/// The file that llama-server opens.
fn first_file(place: &str, choice: &Choice, candidates: &[FileOnDisk]) -> Result<FileName, Error> {
    if let Choice::File(file) = choice {
        return Ok(file.clone());
    }
    let names: Vec<String> = candidates
        .iter()
        .filter_map(|candidate| candidate.name().map(str::to_owned))
        .collect();
    let picked = choice.pick(&names, false);
    let mut picked = picked.map_err(|miss| missed(place, &choice.to_string(), miss))?;
    Ok(picked.swap_remove(0))
}

/// The candidate that is `file`: by its path, by its name, by the part that its header says it is, or because it alone
/// was named.
fn find(file: &FileName, candidates: &[FileOnDisk]) -> Option<usize> {
    let mut all = candidates.iter();
    if let Some(n) = all.position(|candidate| candidate.name.as_ref() == Some(file)) {
        return Some(n);
    }
    let mut all = candidates.iter();
    if let Some(n) = all.position(|candidate| candidate.base() == Some(file.base())) {
        return Some(n);
    }
    let mut fitting = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| match file.part() {
            (1, 1) => candidate.is_named && !candidate.is_projector(),
            part => candidate.is_part(part),
        });
    let (n, _) = fitting.next()?;
    fitting.next().is_none().then_some(n)
}

/// # Errors
///
/// When two of the files were named as parts of different sets.
fn belong_together(taken: &[(FileName, usize)], candidates: &[FileOnDisk]) -> Result<(), Error> {
    let mut first: Option<&FileOnDisk> = None;
    for candidate in taken.iter().map(|(_, n)| &candidates[*n]) {
        let Some(name) = candidate.name.as_ref().filter(|name| name.part().1 > 1) else {
            continue;
        };
        let other = first.get_or_insert(candidate);
        if other
            .name
            .as_ref()
            .is_some_and(|other| other.stem() != name.stem())
        {
            return Err(Error::Settings(format!(
                "{} and {} are parts of different sets: name the files of one",
                other.path.display(),
                candidate.path.display()
            )));
        }
    }
    Ok(())
}

/// The best projector for the model whose first file is the candidate `model`, and its name beside `first`.
fn find_projector(
    first: &FileName,
    model: usize,
    candidates: &[FileOnDisk],
) -> Option<(FileName, usize)> {
    let names: Vec<FileName> = candidates
        .iter()
        .filter(|candidate| candidate.is_projector())
        .filter_map(|candidate| candidate.name.clone())
        .collect();
    let model = candidates[model].name.as_ref().unwrap_or(first);
    let best = projector_beside(model, &names).or_else(|| names.first().cloned())?;
    let n = candidates
        .iter()
        .position(|candidate| candidate.name.as_ref() == Some(&best))?;
    // A folder that is laid out like the repository keeps its layout.
    let name = if model == first {
        best
    } else {
        format!("{}{}", first.folder(), best.base()).parse().ok()?
    };
    Some((name, n))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Settings(format!("cannot read {}: {error}", path.display()))
}
