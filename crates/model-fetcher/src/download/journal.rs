//! Which byte ranges of a part are on the disk, in memory and in a small file beside it.
//!
//! The file is only ever appended to, one line per range, after the bytes themselves were flushed. A line that is cut
//! or senseless ends the reading. A journal that lies costs a download, never a wrong file: the digest decides.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// The most that is read of a journal, in bytes: a terabyte in pieces of 8 MiB takes a quarter of it.
const MAX_JOURNAL_BYTES: u64 = 16 << 20;

/// A set of byte ranges: sorted, apart from each other, never empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds `range`, joining it with what it touches.
    pub(crate) fn insert(&mut self, mut range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.0.retain(|known| {
            let apart = known.end < range.start || known.start > range.end;
            if !apart {
                range = known.start.min(range.start)..known.end.max(range.end);
            }
            apart
        });
        let place = self.0.partition_point(|known| known.start < range.start);
        self.0.insert(place, range);
    }

    /// What of `wanted` is not in the set.
    pub(crate) fn missing(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut position = wanted.start;
        for known in self
            .0
            .iter()
            .filter(|known| known.end > wanted.start && known.start < wanted.end)
        {
            if known.start > position {
                gaps.push(position..known.start);
            }
            position = known.end;
        }
        if position < wanted.end {
            gaps.push(position..wanted.end);
        }
        gaps
    }

    /// Where the first byte is that is not in the set.
    pub(crate) fn first_gap(&self) -> u64 {
        self.0
            .first()
            .filter(|first| first.start == 0)
            .map_or(0, |first| first.end)
    }

    /// How many bytes the set has.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }
}

/// The journal of one part.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    failed: Option<io::ErrorKind>,
}

impl Journal {
    /// Reads the journal of a part of `size` bytes, or begins one when there is none for just that file; and what it says
    /// is on the disk.
    pub(crate) fn open(path: &Path, sha256: Digest, size: u64) -> io::Result<(Self, Ranges)> {
        let head = format!("corral-part 1 {sha256} {size}\n");
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_JOURNAL_BYTES).read_to_string(&mut text));
        let known = read
            .ok()
            .and_then(|_| text.strip_prefix(&head))
            .map(|lines| parse(lines, size));
        let Some((ranges, used)) = known else {
            let mut file = File::create(path)?;
            file.write_all(head.as_bytes())?;
            file.sync_data()?;
            return Ok((
                Self {
                    file,
                    path: path.to_owned(),
                    failed: None,
                },
                Ranges::default(),
            ));
        };
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = (head.len() + used) as u64;
        file.set_len(length)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(length))?;
        Ok((
            Self {
                file,
                path: path.to_owned(),
                failed: None,
            },
            ranges,
        ))
    }

    /// Notes that `ranges` are on the disk once `flush` has put them there, and flushes the note.
    ///
    /// # Errors
    ///
    /// When the disk does not take it, then and ever after: a kernel tells of bytes that it lost only once.
    pub(crate) fn note(
        &mut self,
        ranges: &[Range<u64>],
        flush: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(kind) = self.failed {
            return Err(kind.into());
        }
        if ranges.is_empty() {
            return Ok(());
        }
        let mut joined = Ranges::default();
        ranges.iter().for_each(|range| joined.insert(range.clone()));
        let lines: String = joined
            .0
            .iter()
            .map(|range| format!("{} {}\n", range.start, range.end))
            .collect();
        let noted = flush()
            .and_then(|()| self.file.write_all(lines.as_bytes()))
            .and_then(|()| self.file.sync_data());
        noted.inspect_err(|error| self.failed = Some(error.kind()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The ranges of the whole lines of `lines`, and how many bytes those lines have.
fn parse(lines: &str, size: u64) -> (Ranges, usize) {
    let mut ranges = Ranges::default();
    let mut used = 0;
    for line in lines.split_inclusive('\n') {
        let range = line
            .strip_suffix('\n')
            .and_then(|line| line.split_once(' '))
            .and_then(|(start, end)| {
                let start = start.parse::<u64>().ok()?;
                let end = end.parse::<u64>().ok()?;
                (start < end && end <= size).then_some(start..end)
            });
        let Some(range) = range else { break };
        ranges.insert(range);
        used += line.len();
    }
    (ranges, used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Journal, Ranges, parse};

    proptest! {
        #[test]
        fn a_set_of_ranges_agrees_with_a_set_of_bytes(
            inserted in proptest::collection::vec((0_u64..60, 0_u64..12), 0..20),
            (start, length) in (0_u64..60, 0_u64..30),
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = std::collections::BTreeSet::new();
            for (start, length) in inserted {
                ranges.insert(start..start + length);
                bytes.extend(start..start + length);
            }
            prop_assert_eq!(ranges.n_bytes(), bytes.len() as u64);
            let missing: Vec<u64> = ranges.missing(start..start + length).into_iter().flatten().collect();
            let expected: Vec<u64> = (start..start + length).filter(|byte| !bytes.contains(byte)).collect();
            prop_assert_eq!(missing, expected);
        }

        #[test]
        fn a_journal_cut_anywhere_never_claims_more_than_was_noted(cut in 0_usize..24) {
            let (whole, _) = parse("0 10\n20 30\n100 1234\n", 2000);
            let (ranges, used) = parse(&"0 10\n20 30\n100 1234\n"[..cut.min(20)], 2000);
            prop_assert!(used <= cut);
            prop_assert!(whole.missing(0..2000).iter().all(|gap| ranges.missing(gap.clone()) == vec![gap.clone()]));
        }
    }

    #[test]
    fn a_journal_is_read_back_and_goes_on_after_a_cut_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let digest = "ab".repeat(32).parse().unwrap();
        let (mut journal, _) = Journal::open(&path, digest, 100).unwrap();
        journal.note(&[0..6, 50..60, 6..10], || Ok(())).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"60 70");
        std::fs::write(&path, &text).unwrap();
        let (mut journal, ranges) = Journal::open(&path, digest, 100).unwrap();
        assert_eq!(
            (ranges.missing(0..100), ranges.first_gap()),
            (vec![10..50, 60..100], 10)
        );
        journal.note(&[10..20, 20..50], || Ok(())).unwrap();
        let ranges = |size| Journal::open(&path, digest, size).unwrap().1;
        assert_eq!((ranges(100).n_bytes(), ranges(100).first_gap()), (60, 60));
        assert_eq!((ranges(101).n_bytes(), ranges(101).first_gap()), (0, 0));
    }

    #[test]
    fn after_a_flush_that_failed_nothing_is_noted_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let digest = "ab".repeat(32).parse().unwrap();
        let (mut journal, _) = Journal::open(&path, digest, 100).unwrap();
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(
            journal
                .note(&[0..5, 5..10], || Err(full()))
                .unwrap_err()
                .kind(),
            full().kind()
        );
        assert_eq!(
            journal
                .note(&[10..20, 20..25], || Ok(()))
                .unwrap_err()
                .kind(),
            full().kind()
        );
        assert_eq!(Journal::open(&path, digest, 100).unwrap().1.n_bytes(), 0);
    }
}
