//! A limit on nesting, checked before Cedar parses: its parser is recursive, and running out of stack ends the process.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The most levels of nesting that are accepted: far more than a person writes, and within [`with_deep_stack`]'s stack.
const MAX_NESTING: usize = 2_000;

const STACK: usize = 256 << 20;

/// The system has neither a thread nor memory for a stack as deep as sources may nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoStack;

impl fmt::Display for NoStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the system has no {} MiB of memory for the compiler's stack: raise the limit (RLIMIT_AS, the control \
             group's memory.max) and compile again",
            STACK >> 20
        )
    }
}

impl std::error::Error for NoStack {}

/// Run work that recurses as deep as sources nest, on a stack for far more levels than are accepted. The threads of a
/// process may have only 2 MiB, which a hundred levels can use up.
///
/// # Errors
/// [`NoStack`]; the work was then not begun.
///
/// # Panics
/// If the work does.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NoStack> {
    let work = Mutex::new(Some(work));
    let run = || work.lock().unwrap_or_else(PoisonError::into_inner).take().map(|work| work());
    let done = std::thread::scope(|scope| {
        match std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run) {
            Ok(thread) => Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            // The system has no more threads, but such a stack can be allocated without one.
            Err(_) if has_memory() => Ok(stacker::grow(STACK, run)),
            Err(_) => Err(NoStack),
        }
    });
    done.map(|done| done.expect("the work is there to be done once"))
}

/// Return whether there is memory for the stack and more. Without it, allocating the stack would panic.
fn has_memory() -> bool {
    memmap2::MmapMut::map_anon(2 * STACK).is_ok()
}

/// Return the offset at which a text in one of Cedar's syntaxes nests too deeply, and a message, if it does.
///
/// Brackets nest; so do the branches of `if`, which need none, so every `if` of a policy counts as nested in the one
/// before it.
pub(crate) fn too_deep(text: &str, brackets: Brackets) -> Option<(usize, String)> {
    let bytes = text.as_bytes();
    let (mut depth, mut ifs, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'"' => {
                while let Some(&byte) = bytes.get(at) {
                    at += if byte == b'\\' { 2 } else { 1 };
                    if byte == b'"' {
                        break;
                    }
                }
            }
            b'/' if bytes.get(at) == Some(&b'/') => {
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|b| !matches!(b, b'\n' | b'\r')).count();
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'<' if brackets == Brackets::OfSchema => depth += 1,
            b'>' if brackets == Brackets::OfSchema => depth = depth.saturating_sub(1),
            b';' => ifs = 0,
            b if b.is_ascii_alphabetic() || b == b'_' => {
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|b| is_word(**b)).count();
                ifs += usize::from(bytes.get(start..at) == Some(b"if"));
            }
            _ => {}
        }
        if depth + ifs > MAX_NESTING {
            return Some((start, format!("nested deeper than {MAX_NESTING} levels")));
        }
    }
    None
}

/// The characters that count as brackets: `<` is one in a schema, and an operator in a policy.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Brackets {
    OfPolicies,
    OfSchema,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn policy(text: &str) -> Option<usize> {
        too_deep(text, Brackets::OfPolicies).map(|(at, _)| at)
    }

    #[test]
    fn brackets_nest() {
        let text = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(policy(&text(MAX_NESTING)), None);
        assert_eq!(policy(&text(MAX_NESTING + 1)), Some(MAX_NESTING));
        assert_eq!(policy(&"()".repeat(10 * MAX_NESTING)), None);
        assert_eq!(policy(&"([{".repeat(MAX_NESTING)), Some(MAX_NESTING));
    }

    #[test]
    fn branches_nest() {
        assert_eq!(policy(&"if a then b else ".repeat(MAX_NESTING)), None);
        assert!(policy(&"if a then b else ".repeat(MAX_NESTING + 1)).is_some());
        assert_eq!(policy(&"if a then b else c;".repeat(2 * MAX_NESTING)), None);
        assert_eq!(policy(&"iff elif _if if_ if1 ".repeat(2 * MAX_NESTING)), None);
    }

    #[test]
    fn what_is_no_bracket() {
        let many = "[".repeat(2 * MAX_NESTING);
        assert_eq!(policy(&format!("\"{many}\"")), None);
        assert_eq!(policy(&format!("\"\\\"{many}\"")), None);
        assert_eq!(policy(&format!("\"\\\\\"{many}")), Some(MAX_NESTING + 4));
        assert_eq!(policy(&format!("// {many}\n a")), None);
        assert!(policy(&format!("// a\n{many}")).is_some());
        assert!(policy(&format!("/ {many}")).is_some());
        assert_eq!(policy(&"a < b && ".repeat(2 * MAX_NESTING)), None);
        for odd in ["\"", "\"\\", "/", "//", "é", ")"] {
            assert_eq!(policy(odd), None);
        }
        assert!(too_deep(&"Set<".repeat(MAX_NESTING + 1), Brackets::OfSchema).is_some());
    }
}
