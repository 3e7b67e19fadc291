//! The error of the compiler.

/// Why a model could not be compiled. The policies are well-formed at this point: these are limits of the tables.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No form of a layer's table fits.
    #[error(
        "{action}: {principals} classes of principals and {resources} of resources exceed the size of a table, \
         in every form; let policies name groups instead of single entities"
    )]
    TableTooLarge {
        /// The action.
        action: String,
        /// The number of classes of principals.
        principals: u64,
        /// The number of classes of resources.
        resources: u64,
    },
    /// No code could be generated for a condition.
    #[error("{action}: no code can be generated for a condition: {why}")]
    Condition {
        /// The action.
        action: String,
        /// The reason.
        why: String,
    },
    /// A context nests deeper than the bundle's description allows.
    #[error("{action}: records and sets of its context are nested deeper than 30 levels")]
    Nested {
        /// The action.
        action: String,
    },
    /// The compiler cannot have written the base's tables.
    #[error(
        "the base is not a bundle that this ztfast compiled from the same schema and entities: its tables are \
         inconsistent. Compile without it"
    )]
    Base,
    /// There is no memory for the compiler's stack.
    #[error(transparent)]
    NoStack(#[from] ztfast_cedar::NoStack),
    /// A count does not fit 32 bits.
    #[error("too many {what}: the file format cannot number them")]
    TooMany {
        /// The elements counted.
        what: &'static str,
    },
}

/// Convert a count to the 32 bits of the tables.
pub(crate) fn number(count: usize, what: &'static str) -> Result<u32, CompileError> {
    u32::try_from(count).map_err(|_| CompileError::TooMany { what })
}
