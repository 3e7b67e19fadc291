//! The numbers that cross the boundary, and their names: codes of decisions, statuses of calls, kinds of arguments.

use std::ffi::CStr;
use std::fmt;

/// A decision. Everything but [`Self::ALLOW`] denies, including numbers that are not listed here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[must_use]
pub struct Code(pub u32);

macro_rules! define {
    ($(#[doc = $meaning:literal] $variant:ident $name:ident = $number:literal;)*) => {
        impl Code {
            $(#[doc = $meaning] pub const $name: Self = Self($number);)*

            /// All codes of this version.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// Return the name, as in `ztfast.Code` and, after `ZTFAST_`, in the header; `UNKNOWN_CODE` if unlisted.
            #[must_use]
            pub const fn c_name(self) -> &'static CStr {
                match self {
                    $(Self::$name => const { terminated(concat!(stringify!($name), "\0")) },)*
                    _ => c"UNKNOWN_CODE",
                }
            }
        }
    };
}

ztfast_codes::codes!(define);

/// Convert a text that ends with NUL to C's type.
const fn terminated(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a name ends with its only NUL"),
    }
}

impl Code {
    /// Return whether this is [`Self::ALLOW`].
    #[must_use]
    pub const fn is_allow(self) -> bool {
        self.0 == Self::ALLOW.0
    }

    /// Return [`Self::c_name`] as a `str`.
    ///
    /// ```
    /// assert_eq!(ztfast_embed::Code::REVOKED.name(), "REVOKED");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({})", self.name(), self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The outcome of a call that makes no decision: [`Self::OK`], or a negative number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
#[must_use]
pub struct Status(pub i32);

impl Status {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// A pointer is NULL.
    pub const NULL: Self = Self(-1);
    /// The text is not UTF-8.
    pub const UTF8: Self = Self(-2);
    /// The memory for it is full: see the function.
    pub const ROOM: Self = Self(-3);
    /// The bundle knows no such entity.
    pub const HANDLE: Self = Self(-4);
    /// The columns do not fit the gate or each other.
    pub const COLUMNS: Self = Self(-5);
    /// The gate does not fit the bundle any more, after a swap.
    pub const STALE: Self = Self(-6);
    /// The bundle has no policy with this number.
    pub const POLICY: Self = Self(-7);
    /// The core failed internally; the call had no effect.
    pub const PANIC: Self = Self(-8);
    /// The table's version is not that for which the caller was built.
    pub const VERSION: Self = Self(-9);
    /// The table is shorter than the one for which the caller was built.
    pub const SIZE: Self = Self(-10);

    /// The bundle holds no such text.
    pub const TEXT: Self = Self(-11);
    /// The handle is not this engine's.
    pub const FOREIGN: Self = Self(-12);
    /// The entity does not have the attribute's type.
    pub const TYPE: Self = Self(-13);
    /// A required attribute would be absent.
    pub const REQUIRED: Self = Self(-14);

    /// All statuses of this version.
    pub const ALL: [Self; 15] = [
        Self::OK,
        Self::NULL,
        Self::UTF8,
        Self::ROOM,
        Self::HANDLE,
        Self::COLUMNS,
        Self::STALE,
        Self::POLICY,
        Self::PANIC,
        Self::VERSION,
        Self::SIZE,
        Self::TEXT,
        Self::FOREIGN,
        Self::TYPE,
        Self::REQUIRED,
    ];

    /// Return the message of the status.
    #[must_use]
    pub const fn c_text(self) -> &'static CStr {
        match self {
            Self::OK => c"the call succeeded",
            Self::NULL => c"a pointer is NULL",
            Self::UTF8 => c"the text is not UTF-8",
            Self::ROOM => c"the memory for it is full",
            Self::HANDLE => c"the bundle knows no entity of this handle",
            Self::COLUMNS => c"the columns do not fit the gate or each other",
            Self::STALE => c"the gate no longer fits the bundle: prepare it again",
            Self::POLICY => c"the bundle has no policy with this number",
            Self::PANIC => c"the core failed internally, and the call had no effect",
            Self::VERSION => c"the core's table has another version: build against the ztfast that is installed",
            Self::SIZE => c"the core's table is shorter: install the ztfast that this was built against",
            Self::TEXT => c"the bundle holds no such text",
            Self::FOREIGN => c"the handle is not one of this engine's: take it from this engine",
            Self::TYPE => c"the entity does not have the attribute's type",
            Self::REQUIRED => c"a required attribute is absent",
            _ => c"an unknown status",
        }
    }

    /// Return [`Self::c_text`] as a `str`.
    #[must_use]
    pub fn text(self) -> &'static str {
        self.c_text().to_str().unwrap_or_default()
    }

    /// Convert [`Self::OK`] to `Ok`, and everything else to `Err`.
    ///
    /// # Errors
    /// The status itself.
    pub const fn ok(self) -> Result<(), Self> {
        if self.0 == Self::OK.0 { Ok(()) } else { Err(self) }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Status({}: {})", self.0, self.text())
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

impl std::error::Error for Status {}

/// The kind of a gate's argument, which tells what its number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An ipaddr, set or record, which cannot be passed as a number.
    Other = 0,
    /// 0 or 1.
    Bool = 1,
    /// The number itself.
    Long = 2,
    /// A number from `text`.
    String = 3,
    /// A number from `entity`; in a column of a batch, a handle.
    Entity = 4,
    /// Ten-thousandths.
    Decimal = 5,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Datetime = 6,
    /// Milliseconds.
    Duration = 7,
}

impl Kind {
    /// Return the kind with this number in the table; [`Self::Other`] for numbers that this version does not know.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Bool,
            2 => Self::Long,
            3 => Self::String,
            4 => Self::Entity,
            5 => Self::Decimal,
            6 => Self::Datetime,
            7 => Self::Duration,
            _ => Self::Other,
        }
    }
}
