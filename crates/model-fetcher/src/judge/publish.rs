//! From a complete, verified, hidden file to its final name: fsync, rename, fsync of the folder, in that order.
//!
//! Readers of the folder see the old file or the new one, never a part, also after a power cut. Nothing is ever written
//! through a symbolic link.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::Error;
use crate::names::FileName;

/// Everyone may read a model; llama-server runs as another user.
const MODE: u32 = 0o644;

/// A complete, verified file under a hidden name, and the name it is to have. Both are in the same folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    /// The file, open for writing.
    pub(crate) file: &'a File,
    /// Its hidden name.
    pub(crate) path: &'a Path,
    /// Its final name.
    pub(crate) goal: &'a Path,
}

/// Gives the drafts of one model their final names, the first one last, because llama-server opens it first.
///
/// No name changes before all bytes are on the disk. A first file that is replaced goes before the others come, so that
/// nobody opens an old beginning with a new end.
///
/// # Errors
///
/// When the disk does not take it.
pub(crate) fn publish_all(drafts: &[Draft<'_>]) -> Result<(), Error> {
    drafts.iter().try_for_each(make_durable)?;
    if let [first, _, ..] = drafts {
        match fs::remove_file(first.goal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("replace", first.goal, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    drafts.iter().rev().try_for_each(rename)
}

fn make_durable(draft: &Draft<'_>) -> Result<(), Error> {
    draft
        .file
        .set_permissions(Permissions::from_mode(MODE))
        .and_then(|()| draft.file.sync_all())
        .map_err(|error| Error::io("write", draft.path, error))
}

fn rename(draft: &Draft<'_>) -> Result<(), Error> {
    let goal = draft.goal;
    fs::rename(draft.path, goal).map_err(|error| Error::io("write", goal, error))?;
    let folder = goal.parent().expect("a goal has a folder");
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("write", folder, error))
}

/// Writes `text` to a record at `path`, by way of a hidden draft beside it.
///
/// # Errors
///
/// When the disk does not take it.
pub(crate) fn replace(path: &Path, text: &[u8]) -> Result<(), Error> {
    let name = path
        .file_name()
        .expect("a record has a name")
        .to_string_lossy();
    let draft = path.with_file_name(format!(".{}.part", name.trim_start_matches('.')));
    let file = write(&draft, text).map_err(|error| Error::io("write", &draft, error))?;
    publish_all(&[Draft {
        file: &file,
        path: &draft,
        goal: path,
    }])
}

fn write(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    Ok(file)
}

/// Makes `folder`, for models and records.
///
/// # Errors
///
/// When that is not possible.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, error))
}

/// Makes the folders that `file` needs below `folder`, and refuses what is in the way.
///
/// # Errors
///
/// [`Error::InTheWay`] for a symbolic link, or a folder where the file goes.
pub(crate) fn prepare(folder: &Path, file: &FileName) -> Result<(), Error> {
    make(folder)?;
    let mut path = folder.to_owned();
    let mut components = file.as_str().split('/').peekable();
    while let Some(component) = components.next() {
        path.push(component);
        let last = components.peek().is_none();
        let what = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => "a symbolic link",
            Ok(found) if last && found.is_dir() => "a folder",
            Ok(found) if !last && !found.is_dir() => "not a folder",
            Ok(_) => continue,
            Err(_) if last => continue,
            Err(_) => {
                fs::create_dir(&path)
                    .map_err(|error| Error::io("make the folder", &path, error))?;
                continue;
            }
        };
        return Err(Error::InTheWay { path, what });
    }
    Ok(())
}
