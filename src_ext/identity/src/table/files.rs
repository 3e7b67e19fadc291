//! The file of the validation table: what it says of itself, how it is made, and which one is refused.

use super::parts::{Layout, hash};
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use ztfast_pages::{Directory, FileError, Mapping, Opening, Role, UnsharedFile, boot_id, enter};

/// The name of the file.
pub const FILE: &str = "credentials";
pub const NO_TABLE: &str =
    "there are no credentials here: open an engine with role='authority' first, which keeps them";
const MAGIC: u64 = u64::from_be_bytes(*b"ZTFCREDS");
/// The version of the layout of the whole file.
const VERSION: u64 = 1;
/// The words of a header.
const WORDS: usize = 10;

/// What the file is. It is written before any process can see the file, and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    version: u64,
    /// The sizes and places of all parts, hashed: another build may lay them out otherwise.
    layout: u64,
    size: u64,
    /// The boot in which the file was made: what was written before a loss of power may be torn.
    boot: [u64; 2],
    inode: u64,
    pub rows: u64,
    /// What keys are mixed with, so that nobody can choose credentials that meet in one set.
    pub seed: u64,
}

impl Header {
    fn to_words(self) -> [u64; WORDS] {
        let Self { version, layout, size, boot, inode, rows, seed } = self;
        let mut words = [MAGIC, version, layout, size, boot[0], boot[1], inode, rows, seed, 0];
        words[WORDS - 1] = hash(&words[..WORDS - 1]);
        words
    }

    /// Read a header; `None` if it is none of this version. The header counts only if its hash is right.
    fn of_words(words: [u64; WORDS]) -> (Self, bool) {
        let [_, version, layout, size, first, second, inode, rows, seed, known] = words;
        let header = Self { version, layout, size, boot: [first, second], inode, rows, seed };
        (header, hash(&words[..WORDS - 1]) == known)
    }
}

fn boot() -> [u64; 2] {
    let id = boot_id();
    let half = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    [half(&id[..8]), half(&id[8..])]
}

/// Open the file, and check that it is a whole table of this boot. `None` if there is none.
pub fn open(at: &Directory<'_>) -> Result<Option<(UnsharedFile, Header)>, FileError> {
    let how = if at.role() == Role::Authority { Opening::Write } else { Opening::Read };
    let Some(unshared) = at.open_unshared(FILE, how, true)? else { return Ok(None) };
    let file = at.opened(FILE, &unshared)?;
    let about = at.check_file(FILE, file)?;
    at.check_private(FILE, file)?;
    let mut bytes = [0; 8 * WORDS];
    let is_read = file.read_exact_at(&mut bytes, 0).is_ok();
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    let why = if is_read { fault_of(words, &about) } else { Some("this is no validation table of ztfast") };
    match why {
        None => Ok(Some((unshared, Header::of_words(words).0))),
        Some(why) => Err(at.refused_file(FILE, format!("{why}: {REMOVE}"))),
    }
}

/// What to do with a file that is refused.
pub const REMOVE: &str = "end the processes of the state and remove the file; its credentials are only verified again";

fn fault_of(words: [u64; WORDS], about: &Metadata) -> Option<&'static str> {
    let (header, is_right) = Header::of_words(words);
    let layout = usize::try_from(header.rows).ok().and_then(Layout::new);
    let is_laid_out = layout.is_some_and(|it| it.hash() == header.layout && it.size as u64 == header.size);
    if words[0] != MAGIC {
        Some("this is no validation table of ztfast")
    } else if header.version != VERSION {
        Some("another version of ztfast made this validation table")
    } else if !is_right {
        Some("the header of the validation table was changed")
    } else if !is_laid_out {
        Some("another build of ztfast laid this validation table out")
    } else if about.len() != header.size {
        Some("the validation table is not as long as when it was made")
    } else if about.nlink() != 1 {
        Some("the validation table has another name too (a hard link)")
    } else if about.ino() != header.inode {
        Some("this is a copy of a validation table, whose processes do not see it")
    } else if header.boot == [0; 2] {
        Some("the system does not tell which boot this is (/proc/sys/kernel/random/boot_id)")
    } else if header.boot != boot() {
        Some("the validation table was made before the machine started")
    } else {
        None
    }
}

/// Make the file, unless another process does it first.
pub fn make(at: &Directory<'_>, layout: Layout) -> Result<(), FileError> {
    let seed = enter().map_err(at.io(FILE, "the system gives no random numbers"))?;
    at.make(FILE, layout.size as u64, true, |file| {
        let about = file.metadata().map_err(at.io(FILE, "its number cannot be read"))?;
        let header = Header {
            version: VERSION,
            layout: layout.hash(),
            size: layout.size as u64,
            boot: boot(),
            inode: about.ino(),
            rows: layout.rows as u64,
            seed,
        };
        let bytes: Vec<u8> = header.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
        file.write_all_at(&bytes, 0).map_err(at.io(FILE, "it cannot be written"))
    })
}

/// Map the file, which was opened before.
///
/// It is opened once more for that: a mapping keeps its open file, and with it its locks, also in forked children, and a
/// child that lives on would keep the locks of a process that ended.
pub fn map(at: &Directory<'_>, known: &UnsharedFile, layout: Layout) -> Result<Mapping, FileError> {
    let how = if at.role() == Role::Authority { Opening::Write } else { Opening::Read };
    let file = at.open_file(FILE, how, true)?;
    let place = |file: &File| file.metadata().ok().map(|about| (about.dev(), about.ino()));
    let same = file.filter(|file| place(file).is_some() && place(file) == known.get().and_then(place));
    let file = same.ok_or_else(|| at.refused_file(FILE, "the file was replaced while it was opened: open it again"))?;
    Mapping::of_file(&file, layout.size, at.role() == Role::Authority).map_err(at.io(FILE, "it cannot be mapped"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Return a header of other words, with its right hash.
    pub fn with(at: usize, value: u64, mut words: [u64; WORDS]) -> [u64; WORDS] {
        words[at] = value;
        words[WORDS - 1] = hash(&words[..WORDS - 1]);
        words
    }

    #[test]
    fn each_part_of_a_header_is_checked() {
        let path = std::env::temp_dir().join(format!("ztfast-header-{}", std::process::id()));
        let layout = Layout::new(16).unwrap();
        let file = File::create(&path).unwrap();
        file.set_len(layout.size as u64).unwrap();
        let about = file.metadata().unwrap();
        let (layout, size, inode) = (layout.hash(), layout.size as u64, about.ino());
        let words = Header { version: VERSION, layout, size, boot: boot(), inode, rows: 16, seed: 5 }.to_words();
        assert_eq!((fault_of(words, &about), Header::of_words(words).0.to_words()), (None, words));
        let expected = [
            "no validation table",
            "another version",
            "another build",
            "another build",
            "before the machine",
            "before the machine",
            "a copy",
            "another build",
        ];
        for (at, why) in expected.into_iter().enumerate() {
            let found = fault_of(with(at, words[at] ^ 8, words), &about).unwrap();
            assert!(found.contains(why), "{at}: {found}");
            let mut changed = words;
            changed[at] ^= 8;
            assert!(fault_of(changed, &about).is_some(), "{at}");
        }
        for rows in [0, 8, u64::MAX, u64::MAX / 1024] {
            assert!(fault_of(with(7, rows, words), &about).unwrap().contains("another build"), "{rows}");
        }
        let mut changed = words;
        changed[8] ^= 1;
        assert!(fault_of(changed, &about).unwrap().contains("was changed"));
        std::fs::remove_file(path).unwrap();
    }
}
