//! Whether a file's header and tensor table fit its size and its name.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use crate::gguf::{self, Problem};

/// Whether the file is the part of a set that its name says.
pub(crate) fn fits_in_set(
    header: gguf::Header,
    (number, count): (u32, u32),
) -> Result<gguf::Header, Problem> {
    let named = (count > 1).then(|| (u64::from(number - 1), u64::from(count)));
    if header.split == named {
        return Ok(header);
    }
    let part = |split: Option<(u64, u64)>| match split {
        Some((no, count)) => format!("part {} of {count}", no.saturating_add(1)),
        None => "a model in one file".to_owned(),
    };
    Err(Problem::Broken(format!(
        "by its name it is {}, by its header {}",
        part(named),
        part(header.split)
    )))
}

/// The header of the file at `path`, of which the first `n_bytes` are there.
pub(crate) async fn check_gguf(
    path: &Path,
    n_bytes: u64,
    size: u64,
) -> Result<gguf::Header, Problem> {
    let path = path.to_owned();
    let task = tokio::task::spawn_blocking(move || {
        let file = File::open(&path).map_err(Problem::Unreadable)?;
        gguf::check(BufReader::new(file.take(n_bytes)), size)
    });
    task.await
        .expect("the check does not panic and is not aborted")
}
