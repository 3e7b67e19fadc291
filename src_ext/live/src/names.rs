//! Names of factors, channels and regions, by number: short texts in memory that processes share.
//!
//! A name is never changed or removed. One thread at a time adds one, of all processes, and publishes the count last.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The most bytes of a name.
pub const MAX_NAME: usize = 63;

/// Which names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// Those of factors, which are few: a session has a bit for each.
    Factor,
    /// All others.
    Other,
}

/// A name's text.
#[repr(C)]
pub(crate) struct NameSlot {
    len: AtomicU8,
    text: [AtomicU8; MAX_NAME],
}

/// Some names.
#[derive(Clone, Copy)]
pub(crate) struct Names<'s> {
    pub count: &'s AtomicU32,
    pub slots: &'s [NameSlot],
}

impl NameSlot {
    fn is(&self, name: &str) -> bool {
        let len = self.len.load(Ordering::Relaxed) as usize;
        let text = self.text.iter().map(|byte| byte.load(Ordering::Relaxed));
        len == name.len() && text.take(len).eq(name.bytes())
    }

    /// Copy the name to some bytes, and return it. A text that no authority wrote is empty.
    fn read<'b>(&self, into: &'b mut [u8; MAX_NAME]) -> &'b str {
        for (to, byte) in into.iter_mut().zip(&self.text) {
            *to = byte.load(Ordering::Relaxed);
        }
        let text = into.get(..self.len.load(Ordering::Relaxed) as usize).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl<'s> Names<'s> {
    fn given(&self) -> &'s [NameSlot] {
        let count = (self.count.load(Ordering::Acquire) as usize).min(self.slots.len());
        self.slots.get(..count).unwrap_or_default()
    }

    /// Return the number of a name, if it has one.
    pub fn find(&self, name: &str) -> Option<u32> {
        (0..).zip(self.given()).find(|(_, slot)| slot.is(name)).map(|(number, _)| number)
    }

    /// Read the name with a number into some bytes; `None` if there is none.
    pub fn read<'b>(&self, number: u32, into: &'b mut [u8; MAX_NAME]) -> Option<&'b str> {
        Some(self.given().get(number as usize)?.read(into))
    }

    /// Return all names.
    pub fn all(&self) -> Vec<String> {
        self.given().iter().map(|slot| slot.read(&mut [0; MAX_NAME]).to_owned()).collect()
    }

    /// Give a name a number, if it has none. `None` if there are too many, or the name is too long. Only one thread at
    /// a time may call this, of all processes.
    #[allow(clippy::cast_possible_truncation)] // there are few names, and they are short
    pub fn add(&self, name: &str) -> Option<u32> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        let number = self.given().len();
        let slot = self.slots.get(number)?;
        if name.is_empty() || name.len() > MAX_NAME {
            return None;
        }
        slot.len.store(name.len() as u8, Ordering::Relaxed);
        slot.text.iter().zip(name.bytes()).for_each(|(to, byte)| to.store(byte, Ordering::Relaxed));
        self.count.store(number as u32 + 1, Ordering::Release);
        Some(number as u32)
    }
}
