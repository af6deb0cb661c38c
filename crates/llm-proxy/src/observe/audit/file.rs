//! A file that lines are appended to, for as long as its path leads to it.
//!
//! A program that rotates files moves it away: it is opened anew on a signal, and without one within a second. A line
//! that a full disk cut off is ended before the next one, so that every other line stays whole.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether the path still leads to the file.
const LOOK: Duration = Duration::from_secs(1);
/// Its owner writes, its group may read.
const MODE: u32 = 0o640;

/// See the module.
#[derive(Debug)]
pub(super) struct AppendFile {
    path: PathBuf,
    lines: WholeLines<File>,
    looked: Instant,
    reopen: Arc<AtomicBool>,
}

impl AppendFile {
    pub(super) fn open(path: &Path, reopen: Arc<AtomicBool>) -> Result<Self> {
        let lines = WholeLines {
            file: open(path)?,
            torn: false,
        };
        Ok(Self {
            path: path.to_owned(),
            lines,
            looked: Instant::now(),
            reopen,
        })
    }

    /// Opens the path anew when it was asked for or leads elsewhere. Where that fails, the old file stays.
    fn follow(&mut self) {
        let asked = self.reopen.swap(false, Ordering::Relaxed);
        if !asked && self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        if (asked || self.moved())
            && let Ok(file) = open(&self.path)
        {
            self.lines = WholeLines { file, torn: false };
        }
    }

    fn moved(&self) -> bool {
        let here = self.lines.file.metadata();
        let there = std::fs::metadata(&self.path);
        match (here, there) {
            (Ok(here), Ok(there)) => (here.dev(), here.ino()) != (there.dev(), there.ino()),
            _ => true,
        }
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
}

impl Write for AppendFile {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        self.follow();
        self.lines.write(line)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Writes each line whole, or ends it before the next.
#[derive(Debug)]
struct WholeLines<W> {
    file: W,
    torn: bool,
}

impl<W: Write> Write for WholeLines<W> {
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.file.write(line)?;
        if written < line.len() {
            self.torn = true;
            self.file.write_all(&line[written..])?;
            self.torn = false;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind, Result, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{AppendFile, WholeLines};

    /// Holds as many bytes as it has room for.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 {
                return Err(Error::from(ErrorKind::StorageFull));
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_off_spoils_no_other() {
        let mut lines = WholeLines {
            file: Disk {
                bytes: Vec::new(),
                room: 6,
            },
            torn: false,
        };
        lines.write_all(b"one\n").unwrap();
        for _ in 0..2 {
            lines.write_all(b"two\n").unwrap_err();
        }
        lines.file.room = 100;
        lines.write_all(b"three\n").unwrap();
        assert_eq!(lines.file.bytes, b"one\ntw\nthree\n");
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_on_a_signal_or_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let reopen = Arc::new(AtomicBool::new(false));
        let mut file = AppendFile::open(&path, Arc::clone(&reopen)).unwrap();
        file.write_all(b"1\n").unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        file.write_all(b"2\n").unwrap();
        reopen.store(true, Ordering::Relaxed);
        file.write_all(b"3\n").unwrap();
        std::fs::rename(&path, folder.path().join("older")).unwrap();
        file.looked -= super::LOOK;
        file.write_all(b"4\n").unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (read("old"), read("older"), read("audit.jsonl")),
            ("1\n2\n".into(), "3\n".into(), "4\n".into())
        );
    }
}
