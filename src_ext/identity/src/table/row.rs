//! A row of the validation table, copied out of it.

/// The most grounds of a row: those that a session keeps, and its principal.
pub const MAX_GROUNDS: usize = 10;
/// The most bytes of a row's text.
pub const MAX_TEXT: usize = 824;

/// A ground on which a row rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowGround {
    /// What it is, by the caller's numbers. The table only keeps it.
    pub kind: u8,
    /// Its number ([`crate::number`]).
    pub number: u64,
}

/// What does not fit into a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRow {
    /// The text is too long.
    #[error("a row of the validation table holds a text of {MAX_TEXT} bytes; this one has {0}")]
    LongText(usize),
    /// There are too many grounds.
    #[error("a row of the validation table rests on {MAX_GROUNDS} grounds at most; this one on {0}")]
    ManyGrounds(usize),
}

/// A credential that was verified. That it was used makes it no other row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The SHA-256 of the credential.
    pub key: [u8; 32],
    /// The authorities under which it was verified: another epoch's rows are not found.
    pub epoch: u64,
    /// From when it counts, in nanoseconds since the epoch of the wall clock.
    pub not_before_ns: i64,
    /// From when it no longer counts, in nanoseconds since the epoch of the wall clock.
    pub not_after_ns: i64,
    /// When it was verified, in nanoseconds since the epoch of the wall clock.
    pub verified_ns: i64,
    /// When it was last looked up, in nanoseconds, to a thousandth of a second; the table sets it.
    pub used_ns: i64,
    /// The ground that fell, if one did; the table sets it.
    pub fallen: Option<u64>,
    grounds: [RowGround; MAX_GROUNDS],
    ground_count: usize,
    text: [u8; MAX_TEXT],
    text_len: usize,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |row: &Self| [row.not_before_ns, row.not_after_ns, row.verified_ns];
        (self.key, self.epoch, numbers(self)) == (other.key, other.epoch, numbers(other))
            && (self.fallen, self.grounds(), self.text()) == (other.fallen, other.grounds(), other.text())
    }
}

impl Eq for Row {}

impl Row {
    /// Make a row that can be put into a table.
    ///
    /// # Errors
    /// [`NoRow`].
    ///
    /// ```
    /// use ztfast_identity::{Row, RowGround};
    ///
    /// let row = Row::new([7; 32], 1, (0, 60_000_000_000), 5, &[RowGround { kind: 0, number: 42 }], b"User::ann")?;
    /// assert_eq!((row.grounds().len(), row.text()), (1, &b"User::ann"[..]));
    /// # Ok::<(), ztfast_identity::NoRow>(())
    /// ```
    pub fn new(
        key: [u8; 32],
        epoch: u64,
        bounds_ns: (i64, i64),
        verified_ns: i64,
        grounds: &[RowGround],
        text: &[u8],
    ) -> Result<Self, NoRow> {
        let mut row = Self { key, epoch, verified_ns, ..Self::empty() };
        (row.not_before_ns, row.not_after_ns) = bounds_ns;
        (row.ground_count, row.text_len) = (grounds.len(), text.len());
        row.grounds.get_mut(..grounds.len()).ok_or(NoRow::ManyGrounds(grounds.len()))?.copy_from_slice(grounds);
        row.text.get_mut(..text.len()).ok_or(NoRow::LongText(text.len()))?.copy_from_slice(text);
        Ok(row)
    }

    /// Make room for a row that is looked up.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            key: [0; 32],
            epoch: 0,
            not_before_ns: 0,
            not_after_ns: 0,
            verified_ns: 0,
            used_ns: 0,
            fallen: None,
            grounds: [RowGround { kind: 0, number: 0 }; MAX_GROUNDS],
            ground_count: 0,
            text: [0; MAX_TEXT],
            text_len: 0,
        }
    }

    /// Return the grounds on which the row rests.
    #[must_use]
    pub fn grounds(&self) -> &[RowGround] {
        self.grounds.get(..self.ground_count).unwrap_or_default()
    }

    /// Return the bytes that the caller keeps in the row.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.text_len).unwrap_or_default()
    }

    /// Return whether the row rests on a ground.
    #[must_use]
    pub fn rests_on(&self, number: u64) -> bool {
        self.grounds().iter().any(|ground| ground.number == number)
    }

    pub(super) fn set_lengths(&mut self, text: usize, grounds: usize) {
        (self.text_len, self.ground_count) = (text.min(MAX_TEXT), grounds.min(MAX_GROUNDS));
    }

    pub(super) fn set_ground(&mut self, at: usize, ground: RowGround) {
        if let Some(to) = self.grounds.get_mut(at) {
            *to = ground;
        }
    }

    pub(super) const fn text_room(&mut self) -> &mut [u8; MAX_TEXT] {
        &mut self.text
    }
}
