//! C, Cython and Python list the codes of this crate. With `UPDATE_CODES` set, as `make codes` does, the test rewrites
//! the lists.

use std::fmt::Write as _;
use std::path::Path;
use ztfast_codes::Code;

const BEGIN: &str = "codes: begin";
const END: &str = "codes: end";

fn c() -> String {
    let last = Code::ALL.last().copied();
    let mut out = String::new();
    for code in Code::ALL {
        let comma = if Some(code) == last { "" } else { "," };
        let (name, number, meaning) = (code.name(), code as u8, code.meaning());
        writeln!(out, "    /* {meaning} */\n    ZTFAST_{name} = {number}{comma}").expect("a String takes it");
    }
    out
}

fn cython() -> String {
    Code::ALL.map(|code| format!("        ZTFAST_{}\n", code.name())).concat()
}

fn python() -> String {
    let mut out = String::new();
    for code in Code::ALL {
        let meaning = code.meaning().replace('`', "``");
        writeln!(out, "    {} = {}\n    \"\"\"{meaning}\"\"\"", code.name(), code as u8).expect("a String takes it");
    }
    out
}

/// Replace the lines between a file's two markers.
fn with_list(text: &str, list: &str) -> Option<String> {
    let (head, rest) = text.split_once(BEGIN)?;
    let (rest_of_line, rest) = rest.split_once('\n')?;
    let before = rest.split_once(END)?.0;
    let tail = &rest[before.rfind('\n').map_or(0, |at| at + 1)..];
    Some(format!("{head}{BEGIN}{rest_of_line}\n{list}{tail}"))
}

#[test]
fn c_cython_and_python_have_the_same_codes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, list) in [("ztfast/include/ztfast.h", c()), ("ztfast/gate.pxd", cython()), ("ztfast/codes.py", python())]
    {
        let path = root.join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let wanted = with_list(&text, &list).unwrap_or_else(|| panic!("{file}: no lines {BEGIN:?} and {END:?}"));
        if std::env::var_os("UPDATE_CODES").is_some() && wanted != text {
            std::fs::write(&path, wanted).unwrap_or_else(|error| panic!("{file}: {error}"));
        } else {
            assert!(wanted == text, "{file} lists other codes than src_ext/codes: run `make codes`");
        }
    }
}

#[test]
fn codes_are_bytes_that_rise_with_names_and_sentences_of_their_own() {
    assert!(Code::ALL.is_sorted_by_key(|&code| code as u8));
    for code in Code::ALL {
        let (name, meaning) = (code.name(), code.meaning());
        assert_eq!(name.replace('_', "").to_lowercase(), format!("{code:?}").to_lowercase());
        assert!(meaning.starts_with(char::is_uppercase) && meaning.ends_with('.'), "{name}: {meaning}");
        // No line of the list has more than 120 columns.
        assert!(meaning.len() <= 104, "{name}: its meaning is too long for one line");
        assert_eq!(Code::ALL.iter().filter(|other| other.meaning() == meaning).count(), 1, "{name}");
    }
}
