//! Is there room for the rest of the file? Asked before the first byte, answered with numbers.

use std::path::Path;

use crate::error::Error;

/// Bytes that stay free beside the model, for the journal, the manifest and everyone else.
const MARGIN_BYTES: u64 = 64 << 20;

/// Bytes that this user may still write in `folder`.
///
/// # Errors
///
/// When the file system does not say.
pub(crate) fn free(folder: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io("ask for free space in", folder, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether `missing` more bytes fit into `free` ones.
///
/// # Errors
///
/// [`Error::DiskFull`] when they do not.
pub fn check(folder: &Path, missing: u64, free: u64) -> Result<(), Error> {
    let needed = if missing == 0 {
        0
    } else {
        missing.saturating_add(MARGIN_BYTES)
    };
    if needed <= free {
        Ok(())
    } else {
        Err(Error::DiskFull {
            folder: folder.to_owned(),
            needed,
            free,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check;

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_the_numbers() {
        let error = check(Path::new("/models"), 3_160_000_000, 1_000_000_000).unwrap_err();
        assert_eq!(error.exit_code(), 74);
        assert_eq!(
            error.to_string(),
            "the disk of /models is too full: 3227.1 MB are needed and 1000.0 MB are free; \
             free 2227.1 MB or set MODELS_DIR to a larger disk"
        );
        check(Path::new("/models"), 3_160_000_000, 3_300_000_000).unwrap();
        check(Path::new("/models"), 0, 0).unwrap();
        check(Path::new("/models"), u64::MAX, u64::MAX - 1).unwrap_err();
    }
}
