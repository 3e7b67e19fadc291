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
        Err(_) => panic!("a text ends with its only NUL"),
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

/// Define the statuses: the name of each in Rust and, after `ZTFAST_`, in the header; its number; and its text.
macro_rules! statuses {
    ($($name:ident $c_name:literal = $number:literal $text:literal;)*) => {
        impl Status {
            $(#[doc = concat!("\"", $text, "\"")] pub const $name: Self = Self($number);)*

            /// All statuses of this version.
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// Return the text of the status.
            #[must_use]
            pub const fn c_text(self) -> &'static CStr {
                match self {
                    $(Self::$name => const { terminated(concat!($text, "\0")) },)*
                    _ => c"an unknown status",
                }
            }

            /// Return the name, after `ZTFAST_`, in the header; `UNKNOWN_STATUS` if unlisted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $c_name,)*
                    _ => "UNKNOWN_STATUS",
                }
            }
        }
    };
}

statuses! {
    OK "OK" = 0 "the call succeeded";
    NULL "E_NULL" = -1 "a pointer is NULL";
    UTF8 "E_UTF8" = -2 "the text is not UTF-8";
    CAPACITY "E_CAPACITY" = -3 "the memory for it is full";
    HANDLE "E_HANDLE" = -4 "the bundle knows no entity of this handle";
    COLUMNS "E_COLUMNS" = -5 "the columns do not fit the gate or each other";
    STALE "E_STALE" = -6 "the gate no longer fits the bundle: prepare it again";
    POLICY "E_POLICY" = -7 "the bundle has no policy with this number";
    PANIC "E_PANIC" = -8 "the core failed internally, and the call had no effect";
    VERSION "E_VERSION" = -9 "the core's table has another version: build against the ztfast that is installed";
    SIZE "E_SIZE" = -10 "the core's table is shorter: install the ztfast that this was built against";
    TEXT "E_TEXT" = -11 "the bundle holds no such text";
    FOREIGN "E_FOREIGN" = -12 "the handle is not one of this engine's: take it from this engine";
    TYPE "E_TYPE" = -13 "the entity does not have the attribute's type";
    REQUIRED "E_REQUIRED" = -14 "a required attribute is absent";
    VALUE "E_VALUE" = -15 "the text is no value of its kind, or is out of its range";
    CLOCK "E_CLOCK" = -16 "the engine's clock is not the caller's: open it with clock='caller'";
}

impl Status {
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
    /// A set of sets, records or addresses, which cannot be passed as a number.
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
    /// A number from `address`. Not in columns of batches.
    Address = 8,
    /// A number from `set`. Not in columns of batches.
    Set = 9,
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
            8 => Self::Address,
            9 => Self::Set,
            _ => Self::Other,
        }
    }
}
