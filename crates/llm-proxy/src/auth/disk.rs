//! What the disk says of the keys file: its bytes, that it was removed, or that it cannot be read.
//!
//! Removed means that its folder is there and no longer has the name. Everything else that goes wrong is an error, which
//! takes no key away: a folder that is gone, a link that leads nowhere, a directory, missing rights, a disk that fails.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Room for some 20,000 keys.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The file's bytes; `None` when it was removed.
    file: Option<Arc<[u8]>>,
    /// The file system that its folder is on.
    pub(super) device: u64,
}

impl Look {
    /// A file that was removed holds as much as an empty one.
    pub(super) fn bytes(&self) -> &[u8] {
        self.file.as_deref().unwrap_or_default()
    }

    /// A file with this text.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self {
            file: Some(text.as_bytes().into()),
            device: 0,
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.file.is_none()
    }
}

/// Looks at the file. `device` is the file system that its folder was on before: a folder on another one is what a mount
/// leaves behind when it goes away, so a missing file says nothing there.
///
/// # Errors
///
/// When the file is there and cannot be read, or it is not known whether it is there.
pub(super) fn look(path: &Path, device: Option<u64>) -> Result<Look, String> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let found = fs::metadata(folder).map_err(|error| unreadable(folder, &error))?;
    let found_on = found.dev();
    // Symbolic links are followed for reading, because mounted secrets are links, but a link that leads nowhere is there.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if device.is_some_and(|device| device != found_on) {
                return Err(format!(
                    "cannot read {}: its folder is on another file system than before",
                    path.display()
                ));
            }
            return Ok(Look {
                file: None,
                device: found_on,
            });
        }
        Err(error) => return Err(unreadable(path, &error)),
        Ok(_) => {}
    }
    Ok(Look {
        file: Some(read(path)?),
        device: found_on,
    })
}

fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    // Opening a named pipe would wait for its writer.
    let found = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !found.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let max = MAX_FILE_BYTES / 1024 / 1024;
        return Err(format!("{} is larger than {max} MiB", path.display()));
    }
    Ok(bytes.into())
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}
