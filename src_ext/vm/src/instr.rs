//! The instruction set: instructions of eight bytes, over a stack of values.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The operation of an instruction. The numbers are part of the bundle's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Push the bundle's value `imm`.
    Const = 0,
    /// Push the principal.
    Principal = 1,
    /// Push the resource.
    Resource = 2,
    /// Push context slot `imm`; an absent one is an error.
    Slot = 3,
    /// Push context slot `imm`, or `Missing`.
    SlotOrMissing = 4,
    /// Push whether context slot `imm` is present.
    HasSlot = 5,
    /// Fail unless context slot `imm` is present.
    NeedSlot = 6,
    /// Replace the entity or record on top by its attribute `imm` (a string).
    GetAttr = 7,
    /// Replace the entity or record on top by whether it has attribute `imm`.
    HasAttr = 8,
    /// `e.getTag(key)`.
    GetTag = 9,
    /// `e.hasTag(key)`.
    HasTag = 10,
    /// `a == b`.
    Eq = 11,
    /// `a < b`.
    Less = 12,
    /// `a <= b`.
    LessEq = 13,
    /// `a + b`, an error on overflow.
    Add = 14,
    /// `a - b`, an error on overflow.
    Sub = 15,
    /// `a * b`, an error on overflow.
    Mul = 16,
    /// `-a`, an error on overflow.
    Neg = 17,
    /// `!a`.
    Not = 18,
    /// `a in b`, where `b` is an entity or a set of entities.
    In = 19,
    /// `a.contains(b)`.
    Contains = 20,
    /// `a.containsAll(b)`.
    ContainsAll = 21,
    /// `a.containsAny(b)`.
    ContainsAny = 22,
    /// `a.isEmpty()`.
    IsEmpty = 23,
    /// `a like pattern imm`.
    Like = 24,
    /// `a is type imm`.
    Is = 25,
    /// Make a set of the `imm` topmost values.
    MakeSet = 26,
    /// Make a record of the `imm` topmost pairs of key and value; pairs whose value is `Missing` are left out.
    MakeRecord = 27,
    /// Continue at `imm` (always forward).
    Jump = 28,
    /// Fail unless the top is a boolean. If it is false, keep it and continue at `imm`; else drop it.
    AndThen = 29,
    /// Fail unless the top is a boolean. If it is true, keep it and continue at `imm`; else drop it.
    OrElse = 30,
    /// Fail unless the top is a boolean. Drop it, and if it was false continue at `imm`.
    Branch = 31,
    /// Fail unless the top is a boolean.
    NeedBool = 32,
    /// Call a method of an extension type: `imm` is an [`ExtOp`].
    Ext = 33,
    /// Fail.
    Error = 34,
    /// Push `Missing`.
    Missing = 35,
    /// Replace the top, which does not matter, by `false`. An error before this instruction leads here: all values are
    /// dropped, `true` is pushed, and the program goes on.
    Fails = 36,
}

impl Op {
    /// All operations, by number.
    pub const ALL: [Self; 37] = [
        Self::Const,
        Self::Principal,
        Self::Resource,
        Self::Slot,
        Self::SlotOrMissing,
        Self::HasSlot,
        Self::NeedSlot,
        Self::GetAttr,
        Self::HasAttr,
        Self::GetTag,
        Self::HasTag,
        Self::Eq,
        Self::Less,
        Self::LessEq,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Neg,
        Self::Not,
        Self::In,
        Self::Contains,
        Self::ContainsAll,
        Self::ContainsAny,
        Self::IsEmpty,
        Self::Like,
        Self::Is,
        Self::MakeSet,
        Self::MakeRecord,
        Self::Jump,
        Self::AndThen,
        Self::OrElse,
        Self::Branch,
        Self::NeedBool,
        Self::Ext,
        Self::Error,
        Self::Missing,
        Self::Fails,
    ];

    /// Return the operation with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }
}

/// Methods of the extension types. The numbers are part of the bundle's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum ExtOp {
    DecimalLessThan = 0,
    DecimalLessThanOrEqual = 1,
    DecimalGreaterThan = 2,
    DecimalGreaterThanOrEqual = 3,
    IsIpv4 = 4,
    IsIpv6 = 5,
    IsLoopback = 6,
    IsMulticast = 7,
    IsInRange = 8,
    Offset = 9,
    DurationSince = 10,
    ToDate = 11,
    ToTime = 12,
    ToMilliseconds = 13,
    ToSeconds = 14,
    ToMinutes = 15,
    ToHours = 16,
    ToDays = 17,
}

impl ExtOp {
    /// All methods, by number.
    pub const ALL: [Self; 18] = [
        Self::DecimalLessThan,
        Self::DecimalLessThanOrEqual,
        Self::DecimalGreaterThan,
        Self::DecimalGreaterThanOrEqual,
        Self::IsIpv4,
        Self::IsIpv6,
        Self::IsLoopback,
        Self::IsMulticast,
        Self::IsInRange,
        Self::Offset,
        Self::DurationSince,
        Self::ToDate,
        Self::ToTime,
        Self::ToMilliseconds,
        Self::ToSeconds,
        Self::ToMinutes,
        Self::ToHours,
        Self::ToDays,
    ];

    /// Return the method with this number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Return the number of operands, the subject included.
    #[must_use]
    pub const fn operands(self) -> usize {
        match self {
            Self::DecimalLessThan
            | Self::DecimalLessThanOrEqual
            | Self::DecimalGreaterThan
            | Self::DecimalGreaterThanOrEqual
            | Self::IsInRange
            | Self::Offset
            | Self::DurationSince => 2,
            _ => 1,
        }
    }
}

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Instr {
    /// An [`Op`]'s number. Instructions come from files, so this may be any number.
    pub op: u8,
    reserved: [u8; 3],
    /// The immediate operand.
    pub imm: u32,
}

impl Instr {
    /// Create an instruction.
    #[must_use]
    pub const fn new(op: Op, imm: u32) -> Self {
        Self { op: op as u8, reserved: [0; 3], imm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_lists() {
        for (number, &op) in (0_u8..).zip(&Op::ALL) {
            assert_eq!((op as u8, Op::from_u8(number)), (number, Some(op)));
        }
        for (number, &op) in (0_u32..).zip(&ExtOp::ALL) {
            assert_eq!((op as u32, ExtOp::from_u32(number)), (number, Some(op)));
        }
        assert_eq!((Op::from_u8(37), ExtOp::from_u32(18)), (None, None));
    }
}
