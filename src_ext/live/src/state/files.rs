//! The files of a state: how they are made and opened, and which are refused.

use super::parts::{CALLERS, Capacity, Control, Header, Layout, PAGE, Role, SYSTEMS, StateError};
use crate::ownership::{check_owner, check_user, effective_user};
use crate::proof::base_ns;
use crate::slot::LAYOUT;
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};
use ztfast_pages::{Clock, Mapping};

const MAGIC: [u8; 8] = *b"ZTFSTATE";
/// The version of the layout of the whole state.
const VERSION: u32 = 2;
/// The names of the files.
pub(super) const FILE: &str = "state";
pub(super) const OWNERS: &str = "owners";
pub(super) const NO_STATE: &str = "there is no state here: open an engine with role='authority' first, which makes one";

/// The directory of a state. Everything in it is opened by the directory's descriptor, so that a path that changes
/// meanwhile leads nowhere else.
pub(super) struct Directory<'a> {
    path: &'a Path,
    file: File,
    role: Role,
    group: Option<u32>,
}

impl Directory<'_> {
    pub fn open(path: &Path, role: Role, group: Option<u32>, makes: bool) -> Result<Directory<'_>, StateError> {
        let io = |what| move |source: io::Error| StateError::Io { path: path.to_owned(), what, source };
        let made = if makes { std::fs::create_dir(path) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io("the directory of the state cannot be made")(error));
            }
            Ok(()) => {
                let mode = if group.is_some() { 0o750 } else { 0o700 };
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(path, permissions).map_err(io("its permissions cannot be set"))?;
                if let Some(group) = group {
                    std::os::unix::fs::chown(path, None, Some(group)).map_err(io("it cannot be given to the group"))?;
                }
            }
            Err(_) => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        if !makes && matches!(file, Err(rustix::io::Errno::NOENT)) {
            return Err(StateError::Refused { path: path.to_owned(), why: NO_STATE.to_owned() });
        }
        let file = File::from(file.map_err(|error| io("it cannot be opened")(error.into()))?);
        let about = file.metadata().map_err(io("its owner cannot be read"))?;
        check_owner(&about, role == Role::Decide, group).map_err(refused_at(path))?;
        Ok(Directory { path, file, role, group })
    }

    pub fn refused(&self, why: impl Into<String>) -> StateError {
        StateError::Refused { path: self.path.to_owned(), why: why.into() }
    }

    pub fn io(&self, name: &str, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
        let path = self.path.join(name);
        move |source| StateError::Io { path, what, source }
    }

    fn mode(&self) -> Mode {
        Mode::from_raw_mode(if self.group.is_some() { 0o640 } else { 0o600 })
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<Option<File>, StateError> {
        // Without `NONBLOCK`, a pipe in the file's place would be waited for.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = if name == OWNERS { Mode::from_raw_mode(0o600) } else { self.mode() };
        match rustix::fs::openat(&self.file, name, flags, mode) {
            Ok(file) => Ok(Some(file.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => {
                let owner = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).map(|about| about.st_uid);
                if self.role == Role::Authority && error == rustix::io::Errno::ACCESS {
                    check_user(owner.unwrap_or_else(|_| effective_user()))
                        .map_err(refused_at(&self.path.join(name)))?;
                }
                Err(self.io(name, "it cannot be opened")(error.into()))
            }
        }
    }

    pub fn open_owners(&self, flags: OFlags) -> Result<File, StateError> {
        let file = self.open_file(OWNERS, OFlags::RDWR | flags)?;
        file.ok_or_else(|| {
            self.refused(
                "the file `owners` of this state is gone: end its processes and remove the file `state`, with which \
                 its kills and markets go",
            )
        })
    }

    /// Check that nobody else can open the file of owners, and return its inode.
    pub fn check_owners(&self, file: &File) -> Result<u64, StateError> {
        let about = file.metadata().map_err(self.io(OWNERS, "its owner cannot be read"))?;
        check_owner(&about, false, None).map_err(refused_at(&self.path.join(OWNERS)))?;
        // Who can read it can lock it, and so keep others from killing and admitting.
        if about.mode() & 0o077 != 0 {
            let why = format!("others than its owner may read it (mode {:o}): chmod 600", about.mode() & 0o7777);
            return Err(StateError::Refused { path: self.path.join(OWNERS), why });
        }
        Ok(about.ino())
    }

    /// Open the file, and check that it is a whole state of this boot.
    pub fn open_state(&self) -> Result<Option<(File, Header)>, StateError> {
        let flags = if self.role == Role::Authority { OFlags::RDWR } else { OFlags::RDONLY };
        let Some(file) = self.open_file(FILE, flags)? else { return Ok(None) };
        let path = self.path.join(FILE);
        let refused = |why: &str| Err(StateError::Refused { path: path.clone(), why: why.to_owned() });
        let about = file.metadata().map_err(self.io(FILE, "its size cannot be read"))?;
        check_owner(&about, self.role == Role::Decide, self.group).map_err(refused_at(&path))?;
        if !about.is_file() {
            return refused("wanted a file: remove it");
        }
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
        if header.boot != boot() {
            return refused(
                "the state was made before the machine started, and its sessions, kills and markets ended with that: \
                 remove the file, and make kills again that are still needed",
            );
        }
        Ok(Some((file, header)))
    }

    /// Make the state, unless another process does it first.
    pub fn make(&self, capacity: Capacity, clock: &Clock) -> Result<(), StateError> {
        let layout = Layout::new(capacity).ok_or_else(|| self.refused("the state would be too large"))?;
        let mut random = [0; 8 + 16];
        getrandom::fill(&mut random)?;
        let (name, id) = random.split_at(8);
        let owners = self.check_owners(&self.open_owners(OFlags::CREATE)?)?;
        if let Some(file) = self.open_nameless()? {
            self.fill(&file, layout, capacity, clock, (id, owners))?;
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            // A state that exists already is left as it is.
            match rustix::fs::linkat(rustix::fs::CWD, own, &self.file, FILE, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => return Ok(()),
                // Without /proc, a file that has no name gets none.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(self.io(FILE, "it cannot get its name")(error.into())),
            }
        }
        let number = name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let temporary = format!("{FILE}.{number:016x}");
        let file = self.open_file(&temporary, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let file = file.ok_or_else(|| self.refused("the directory is gone"))?;
        let made = self.fill(&file, layout, capacity, clock, (id, owners)).and_then(|()| {
            let (from, flags) = (temporary.as_str(), RenameFlags::NOREPLACE);
            match rustix::fs::renameat_with(&self.file, from, &self.file, FILE, flags) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(self.io(FILE, "it cannot be renamed")(error.into())),
            }
        });
        let _ = rustix::fs::unlinkat(&self.file, temporary.as_str(), AtFlags::empty());
        made
    }

    /// Open a file that has no name yet, so that nothing is left of it if this process is killed. `None` where the
    /// filesystem has no such files.
    fn open_nameless(&self) -> Result<Option<File>, StateError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.file, ".", flags, self.mode()) {
            Ok(file) => Ok(Some(file.into())),
            // Old kernels take the flag for that of a directory.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(self.io(FILE, "it cannot be made")(error.into())),
        }
    }

    fn fill(
        &self,
        file: &File,
        layout: Layout,
        capacity: Capacity,
        clock: &Clock,
        (id, owners): (&[u8], u64),
    ) -> Result<(), StateError> {
        let size = layout.size as u64;
        // A file with holes would end its processes when a filesystem is full and a page is needed.
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size)
            .map_err(|error| self.io(FILE, "the system has no room for it")(error.into()))?;
        if let Some(group) = self.group {
            std::os::unix::fs::fchown(file, None, Some(group))
                .map_err(self.io(FILE, "it cannot be given to the group"))?;
            // The process's mask may have taken the group's right away.
            rustix::fs::fchmod(file, self.mode())
                .map_err(|error| self.io(FILE, "its permissions cannot be set")(error.into()))?;
        }
        let about = file.metadata().map_err(self.io(FILE, "its number cannot be read"))?;
        let now = clock.reading();
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            slot_layout: LAYOUT,
            layout: layout.hash(),
            size,
            boot: boot(),
            id: id.try_into().unwrap_or_default(),
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
        let mapping = Mapping::of_file(file, layout.size, true).map_err(self.io(FILE, "it cannot be mapped"))?;
        if let Some([control]) = mapping.slice::<Control>(PAGE, 1) {
            control.offset.store(now.offset(), Ordering::Relaxed);
            control.slept.store(now.boottime.saturating_sub(now.monotonic), Ordering::Relaxed);
        }
        std::os::unix::fs::FileExt::write_all_at(file, header.as_bytes(), 0)
            .map_err(self.io(FILE, "it cannot be written"))
    }
}

fn refused_at(path: &Path) -> impl FnOnce(String) -> StateError {
    move |why| StateError::Refused { path: path.to_owned(), why }
}

/// The bytes of the header that are hashed.
const HASHED: usize = size_of::<Header>() - 32;

pub(super) fn hash(header: &Header) -> [u8; 32] {
    *blake3::hash(header.as_bytes().get(..HASHED).unwrap_or_default()).as_bytes()
}

/// Return the id of the boot; zeros where the system does not tell it.
fn boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| Some(u8::try_from(digit.to_digit(16)?).unwrap_or(0))).collect();
    let mut id = [0; 16];
    for (to, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *to = pair[0] << 4 | pair[1];
    }
    id
}
