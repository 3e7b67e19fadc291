//! The files of a state: how they are made and opened, and which are refused.

use super::parts::{CALLERS, Capacity, Control, Header, Layout, PAGE, SYSTEMS, StateError};
use crate::proof::base_ns;
use crate::slot::LAYOUT;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};
use ztfast_pages::{Clock, Directory, FileError, Mapping, Opening, Role, boot_id};

const MAGIC: [u8; 8] = *b"ZTFSTATE";
/// The version of the layout of the whole state.
const VERSION: u32 = 2;
/// The names of the files.
pub(super) const FILE: &str = "state";
pub(super) const OWNERS: &str = "owners";
pub(super) const NO_STATE: &str = "there is no state here: open an engine with role='authority' first, which makes one";

/// The directory of a state.
pub(super) struct StateDirectory<'a>(pub Directory<'a>);

impl StateDirectory<'_> {
    pub fn open(path: &Path, role: Role, group: Option<u32>, makes: bool) -> Result<StateDirectory<'_>, StateError> {
        Ok(StateDirectory(Directory::open(path, role, group, makes, NO_STATE)?))
    }

    pub fn open_owners(&self, how: Opening) -> Result<File, FileError> {
        let file = self.0.open_file(OWNERS, how, true)?;
        file.ok_or_else(|| {
            self.0.refused(
                "the file `owners` of this state is gone: end its processes and remove the file `state`, with which \
                 its kills and markets go",
            )
        })
    }

    /// Check that nobody else can open the file of owners, and return its inode.
    pub fn check_owners(&self, file: &File) -> Result<u64, FileError> {
        Ok(self.0.check_private(OWNERS, file)?.ino())
    }

    /// Open the file, and check that it is a whole state of this boot.
    pub fn open_state(&self) -> Result<Option<(File, Header)>, StateError> {
        let how = if self.0.role() == Role::Authority { Opening::Write } else { Opening::Read };
        let Some(file) = self.0.open_file(FILE, how, false)? else { return Ok(None) };
        let refused = |why: &str| Err(self.0.refused_file(FILE, why).into());
        let about = self.0.check_file(FILE, &file)?;
        let mut bytes = [0; size_of::<Header>()];
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0);
        let header = Header::read_from_bytes(&bytes).ok().filter(|header| read.is_ok() && header.magic == MAGIC);
        let Some(header) = header else {
            return refused("this is not a state of ztfast: give another directory");
        };
        if header.version != VERSION || header.slot_layout != LAYOUT {
            return refused(
                "another version of ztfast made this state: end its processes and remove the file, with which its \
                    kills and markets go",
            );
        }
        if header.hash != hash(&header) {
            return refused(
                "the state's header was changed: end its processes and remove the file, with which its kills and \
                    markets go",
            );
        }
        if about.len() != header.size {
            return refused(
                "the state is not as long as when it was made: end its processes and remove the file, with which its \
                    kills and markets go",
            );
        }
        if about.nlink() != 1 {
            return refused("the file has another name too (a hard link): give the directory in which it was made");
        }
        if about.ino() != header.inode {
            return refused("this is a copy of a state, whose processes do not see it: remove it");
        }
        if header.boot == [0; 16] {
            return refused("the system does not tell which boot this is (/proc/sys/kernel/random/boot_id)");
        }
        if header.boot != boot_id() {
            return refused(
                "the state was made before the machine started, and its sessions, kills and markets ended with that: \
                 remove the file, and make kills again that are still needed",
            );
        }
        Ok(Some((file, header)))
    }

    /// Make the state, unless another process does it first.
    pub fn make(&self, capacity: Capacity, clock: &Clock) -> Result<(), StateError> {
        let layout = Layout::new(capacity).ok_or_else(|| self.0.refused("the state would be too large"))?;
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let owners = self.check_owners(&self.open_owners(Opening::WriteOrMake)?)?;
        let fill = |file: &File| self.fill(file, layout, capacity, clock, (id, owners));
        self.0.make(FILE, layout.size as u64, false, fill)
    }

    fn fill(
        &self,
        file: &File,
        layout: Layout,
        capacity: Capacity,
        clock: &Clock,
        (id, owners): ([u8; 16], u64),
    ) -> Result<(), StateError> {
        let about = file.metadata().map_err(self.0.io(FILE, "its number cannot be read"))?;
        let now = clock.reading();
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            slot_layout: LAYOUT,
            layout: layout.hash(),
            size: layout.size as u64,
            boot: boot_id(),
            id,
            inode: about.ino(),
            owners,
            sessions: capacity.sessions as u64,
            uids: capacity.uids as u64,
            key: getrandom::u64()? >> 1,
            base_ns: base_ns(now.monotonic),
            clock: if matches!(clock, Clock::Caller(_)) { CALLERS } else { SYSTEMS },
            hash: [0; 32],
        };
        header.hash = hash(&header);
        let mapping = Mapping::of_file(file, layout.size, true).map_err(self.0.io(FILE, "it cannot be mapped"))?;
        if let Some([control]) = mapping.slice::<Control>(PAGE, 1) {
            control.offset.store(now.offset(), Ordering::Relaxed);
            control.slept.store(now.boottime.saturating_sub(now.monotonic), Ordering::Relaxed);
        }
        std::os::unix::fs::FileExt::write_all_at(file, header.as_bytes(), 0)
            .map_err(self.0.io(FILE, "it cannot be written"))?;
        Ok(())
    }
}

/// The bytes of the header that are hashed.
const HASHED: usize = size_of::<Header>() - 32;

pub(super) fn hash(header: &Header) -> [u8; 32] {
    *blake3::hash(header.as_bytes().get(..HASHED).unwrap_or_default()).as_bytes()
}
