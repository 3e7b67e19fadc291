//! A bundle's bytes in memory of our own, so that writing, truncating or replacing the file changes no decision.
//!
//! A file is opened once, read once from beginning to end, and never read again; every check is of the copy. A small
//! file is copied to anonymous memory, which is then made read-only. A large one is copied to a memory file (memfd)
//! with all seals: no process can write it any more, this one included, and processes that are given its descriptor
//! share its pages.

use crate::file::{self, OpenError};
use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use zerocopy::IntoBytes;

/// Larger files go to sealed memory: sharing them is worth a descriptor.
const SHARED: u64 = 4 << 20;
/// The bytes read at once: they stay in the processor's cache until they are written.
const CHUNK: usize = 1 << 20;
/// Two MiB: the size of large pages on x86-64 and aarch64.
const LARGE_PAGE_BITS: u8 = 21;

/// Fills a buffer with the file's bytes from an offset on.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> Result<(), OpenError>;

/// The memory that holds a bundle's bytes.
pub(crate) enum Data {
    /// Words, because the tables need eight-byte alignment. A box would promise at each move that nothing else borrows
    /// its content, but a bundle's views do.
    Owned(Vec<u64>),
    /// Anonymous memory, read-only, and how many of its bytes are the bundle's.
    Anonymous(Mmap, usize),
    /// A sealed memory file, and its mapping.
    Sealed(Mmap, OwnedFd),
}

impl Data {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(words) => words.as_bytes(),
            Self::Anonymous(map, bytes) => map.get(..*bytes).unwrap_or_default(),
            Self::Sealed(map, _) => map,
        }
    }

    /// Return a descriptor of sealed memory that holds the bytes: of this memory, if it is sealed.
    #[cfg(target_os = "linux")]
    pub fn share(&self) -> io::Result<OwnedFd> {
        if let Self::Sealed(_, memory) = self {
            return memory.try_clone();
        }
        let memory = memory_file()?;
        memory.write_all_at(self.bytes(), 0)?;
        seal(&memory)?;
        Ok(memory.into())
    }

    /// Copy the bytes to anonymous memory. Large pages come from the system's pool, or else from transparent huge
    /// pages.
    pub fn copy(&self, large_pages: bool) -> io::Result<Self> {
        let bytes = self.bytes();
        let mut map = if large_pages {
            let mut options = MmapOptions::new();
            options.len(bytes.len().next_multiple_of(1 << LARGE_PAGE_BITS));
            options.clone().huge(Some(LARGE_PAGE_BITS)).map_anon().or_else(|_| options.map_anon())?
        } else {
            MmapMut::map_anon(bytes.len())?
        };
        if large_pages {
            advise_huge_pages(&map);
        }
        map.get_mut(..bytes.len()).unwrap_or_default().copy_from_slice(bytes);
        Ok(Self::Anonymous(map.make_read_only()?, bytes.len()))
    }
}

/// Advise the system to use large pages. It may ignore this, and it changes nothing for pages of the pool.
fn advise_huge_pages(map: &MmapMut) {
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

/// Read a whole file. The header and the table of sections are checked first, so that a file that is not a bundle, or
/// is not as long as it says, is neither read nor given memory.
pub(crate) fn read(path: &Path, elements: &[usize]) -> Result<Data, OpenError> {
    let fail = |source| OpenError::Io { path: path.to_owned(), source };
    // These flags keep a FIFO from blocking, and a terminal from taking this process. Neither is read.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(|e| fail(e.into()))?;
    let file = File::from(file);
    let before = file.metadata().map_err(fail)?;
    if !before.is_file() {
        return Err(OpenError::Kind { what: kind(before.mode()) });
    }
    let length = before.len();
    #[cfg(target_os = "linux")]
    if length > 0 && is_sealed(&file, &before) {
        // SAFETY: a mapping is sound while the file is neither written nor truncated. The seals forbid both for good,
        // and all its pages exist.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file) }.map_err(fail)?;
        return Ok(Data::Sealed(map, file.into()));
    }
    let read_at = |into: &mut [u8], from: u64| match file.read_exact_at(into, from) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(OpenError::Changed),
        Err(error) => Err(fail(error)),
    };
    let mut head = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(file::head_length(elements))];
    read_at(&mut head, 0)?;
    file::check(&head, length, elements)?;
    let missing = |source| OpenError::Copy { bytes: length, source };
    let size = usize::try_from(length).ok().filter(|&size| size <= isize::MAX.cast_unsigned());
    let size = size.ok_or_else(|| missing(io::ErrorKind::OutOfMemory.into()))?;
    if length > SHARED
        && let Some(available) = available_memory().filter(|&available| length > available)
    {
        return Err(missing(io::Error::other(format!("only {available} are available"))));
    }
    let data = if let Some(data) = sealed(length, &read_at)? {
        data
    } else {
        let mut map = MmapMut::map_anon(size).map_err(missing)?;
        if length > SHARED {
            advise_huge_pages(&map);
        }
        read_at(&mut map, 0)?;
        Data::Anonymous(map.make_read_only().map_err(missing)?, size)
    };
    let after = file.metadata().map_err(fail)?;
    let stamp = |of: &std::fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    if stamp(&before) != stamp(&after) {
        return Err(OpenError::Changed);
    }
    Ok(data)
}

fn kind(mode: u32) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file",
    }
}

/// Copy a large file to sealed memory. `None` if the file is small, or the system refuses such memory: a sandbox may
/// forbid it, and a limit on the size of files applies to it.
#[cfg(target_os = "linux")]
fn sealed(length: u64, read_at: ReadAt<'_>) -> Result<Option<Data>, OpenError> {
    // Writing beyond the limit would raise a signal that ends the process.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if length <= SHARED || limit.is_some_and(|limit| limit < length) {
        return Ok(None);
    }
    let Ok(memory) = memory_file() else { return Ok(None) };
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = chunk.get_mut(..size).unwrap_or_default();
        read_at(chunk, at)?;
        if memory.write_all_at(chunk, at).is_err() {
            return Ok(None);
        }
        at += size as u64;
    }
    if seal(&memory).is_err() {
        return Ok(None);
    }
    // SAFETY: a mapping is sound while the file is neither written nor truncated: it has just been sealed against both,
    // for good. (It is private, because kernels before 6.7 refuse shared mappings of sealed memory; its pages are
    // shared all the same.)
    let map = unsafe { MmapOptions::new().map_copy_read_only(&memory) };
    Ok(map.ok().map(|map| Data::Sealed(map, memory.into())))
}

#[cfg(not(target_os = "linux"))]
fn sealed(_: u64, _: ReadAt<'_>) -> Result<Option<Data>, OpenError> {
    Ok(None)
}

#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the second flag; some systems demand it.
    let made = memfd_create("ztfast-bundle", flags | MemfdFlags::NOEXEC_SEAL);
    Ok(made.or_else(|_| memfd_create("ztfast-bundle", flags))?.into())
}

#[cfg(target_os = "linux")]
const SEALS: rustix::fs::SealFlags = rustix::fs::SealFlags::WRITE
    .union(rustix::fs::SealFlags::SHRINK)
    .union(rustix::fs::SealFlags::GROW)
    .union(rustix::fs::SealFlags::SEAL);

#[cfg(target_os = "linux")]
fn seal(memory: &File) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(memory, SEALS)?)
}

/// Return whether the file is memory that is sealed against writing and truncating, with all its pages allocated. A
/// missing page might not be available when it is read, and in large pages of the system's pool any page may be
/// missing.
#[cfg(target_os = "linux")]
fn is_sealed(file: &File, metadata: &std::fs::Metadata) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
        && rustix::fs::fstatfs(file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS))
        && metadata.blocks().saturating_mul(512) >= metadata.len()
}

/// Return how many bytes of memory the system and the process's control group have left, as far as they tell. Reading
/// more would not fail, but make the system kill a process.
#[cfg(target_os = "linux")]
fn available_memory() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    });
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let own = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        let folders =
            Path::new(own.trim_start_matches('/')).ancestors().map(|part| Path::new("/sys/fs/cgroup").join(part));
        let limits = folders.filter_map(|folder| std::fs::read_to_string(folder.join("memory.max")).ok());
        limits.filter_map(|limit| limit.trim().parse().ok()).min()
    });
    system.into_iter().chain(group).min()
}

#[cfg(not(target_os = "linux"))]
fn available_memory() -> Option<u64> {
    None
}
