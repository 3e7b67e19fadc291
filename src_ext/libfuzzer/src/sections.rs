//! Parses a bundle's file into its sections, and assembles it again with right hashes. This follows the layout that the
//! crate `bundle` documents and shares no code with it, so a file that the two read differently shows an error.

/// The size of the header before the table of sections: magic number, version, count, length, zeros, hash.
const HEADER: usize = 64;
/// The size of an entry of the table: kind, element size, offset, length, zeros, hash.
const ENTRY: usize = 64;
/// Each section begins at a multiple of this offset.
const ALIGN: usize = 64;
/// The largest size of an element of any section.
const MAX_ELEMENT: usize = 256;

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The size of an element.
    pub element: usize,
    /// Its elements.
    pub bytes: Vec<u8>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Magic number and version.
    pub magic: [u8; 12],
    /// Its sections.
    pub sections: Vec<Section>,
}

impl File {
    /// Parse a file. Returns `None` if its table of sections is invalid. Hashes are not checked.
    #[must_use]
    pub fn read(file: &[u8]) -> Option<Self> {
        let magic = file.get(..12)?.try_into().ok()?;
        let count = u32_at(file, 12)? as usize;
        let table = file.get(HEADER..)?.get(..count.checked_mul(ENTRY)?)?;
        let sections = table.chunks_exact(ENTRY).map(|entry| {
            let element = u32_at(entry, 4)? as usize;
            let (offset, length) = (usize_at(entry, 8)?, usize_at(entry, 16)?);
            let bytes = file.get(offset..)?.get(..length)?.to_vec();
            ((1..=MAX_ELEMENT).contains(&element) && length % element == 0).then_some(Section { element, bytes })
        });
        Some(Self { magic, sections: sections.collect::<Option<_>>()? })
    }

    /// Assemble the file.
    ///
    /// # Panics
    /// Panics if there are more than 4 billion sections.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).expect("no file of a fuzzer is so large").to_le_bytes();
        let mut table = Vec::new();
        let mut bodies = Vec::new();
        let start = (HEADER + self.sections.len() * ENTRY).next_multiple_of(ALIGN);
        for (kind, section) in self.sections.iter().enumerate() {
            let from = bodies.len();
            bodies.extend_from_slice(&section.bytes);
            bodies.resize(bodies.len().next_multiple_of(ALIGN), 0);
            table.extend_from_slice(&number(kind));
            table.extend_from_slice(&number(section.element));
            table.extend_from_slice(&((start + from) as u64).to_le_bytes());
            table.extend_from_slice(&(section.bytes.len() as u64).to_le_bytes());
            table.extend_from_slice(&[0; 8]);
            table.extend_from_slice(blake3::hash(&bodies[from..]).as_bytes());
        }
        let mut file = self.magic.to_vec();
        file.extend_from_slice(&number(self.sections.len()));
        file.extend_from_slice(&((start + bodies.len()) as u64).to_le_bytes());
        file.resize(HEADER, 0);
        file.extend_from_slice(&table);
        // The header's own hash is computed with zeros in its place.
        let hash = blake3::hash(&file);
        file[HEADER - 32..HEADER].copy_from_slice(hash.as_bytes());
        file.resize(start, 0);
        file.extend_from_slice(&bodies);
        file
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()
}
