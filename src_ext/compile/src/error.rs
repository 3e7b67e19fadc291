//! Why a model could not be compiled.

/// Why a model could not be compiled. The policies are well-formed by then: these are limits of the tables.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// No form of an action's table fits.
    #[error(
        "{action}: {principals} classes of principals and {resources} of resources take more room than a table may have, \
         in every form; let policies name groups instead of single entities"
    )]
    TableTooLarge {
        /// The action.
        action: String,
        /// Classes of principals.
        principals: u64,
        /// Classes of resources.
        resources: u64,
    },
    /// A condition could not be laid out.
    #[error("{action}: a condition cannot be laid out: {why}")]
    Condition {
        /// The action.
        action: String,
        /// Why.
        why: String,
    },
    /// A context deeper than the bundle's description can say.
    #[error("{action}: records and sets of its context are nested deeper than 30 levels")]
    Nested {
        /// The action.
        action: String,
    },
    /// Another bundle's tables are not what the compiler writes.
    #[error(
        "the base is no bundle that this ztfast compiled from the same schema and entities: its tables make no sense. \
         Compile without it"
    )]
    Base,
    /// No stack to compile on.
    #[error(transparent)]
    NoStack(#[from] ztfast_cedar::NoStack),
    /// A count that has to fit 32 bits does not.
    #[error("too many {what}: more than the file format has room for")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
    },
}

/// A count as the 32-bit number that the tables hold.
pub(crate) fn number(count: usize, what: &'static str) -> Result<u32, CompileError> {
    u32::try_from(count).map_err(|_| CompileError::TooMany { what })
}
