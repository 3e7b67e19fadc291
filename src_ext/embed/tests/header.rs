//! The table in Rust is the table in `ztfast.h`: a C program that includes the header prints every number, size and
//! offset, and the texts of which the header has copies.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::Path;
use std::process::Command;
use ztfast_embed::{
    ABI_VERSION, ANY_AGE, Api, CAPSULE, Code, Determining, Kind, MAX_ARGUMENTS, MAX_DETERMINING, MAX_VALUES,
    REMEMBERED, RawColumn, RawValue, Status, UNDECIDED, UNKNOWN_TEXT,
};

/// The statuses that `ztfast_check` alone returns. A table that it refuses has no function that C could ask for a text,
/// so the header has a copy of these.
const CHECKED: [Status; 2] = [Status::VERSION, Status::SIZE];

/// Return the C expressions to check, with their expected values.
fn expected() -> Vec<(String, i64)> {
    let number = |value: usize| i64::try_from(value).expect("sizes are small");
    let mut out = vec![
        ("ZTFAST_ABI_VERSION".to_owned(), i64::from(ABI_VERSION)),
        ("ZTFAST_MAX_ARGUMENTS".to_owned(), number(MAX_ARGUMENTS)),
        ("ZTFAST_MAX_DETERMINING".to_owned(), number(MAX_DETERMINING)),
        ("sizeof(ztfast_determining)".to_owned(), number(size_of::<Determining>())),
        ("offsetof(ztfast_determining, policies)".to_owned(), number(offset_of!(Determining, policies))),
        ("sizeof(ztfast_column)".to_owned(), number(size_of::<RawColumn>())),
        ("offsetof(ztfast_column, data)".to_owned(), number(offset_of!(RawColumn, data))),
        ("offsetof(ztfast_column, len)".to_owned(), number(offset_of!(RawColumn, len))),
        ("offsetof(ztfast_column, each)".to_owned(), number(offset_of!(RawColumn, each))),
        ("ZTFAST_MAX_VALUES".to_owned(), number(MAX_VALUES)),
        ("ZTFAST_UNDECIDED".to_owned(), i64::from(UNDECIDED)),
        ("ZTFAST_UNKNOWN_TEXT".to_owned(), UNKNOWN_TEXT),
        ("ZTFAST_REMEMBERED".to_owned(), REMEMBERED.into()),
        // Printed as a signed number, like all others.
        ("ZTFAST_ANY_AGE".to_owned(), ANY_AGE.cast_signed()),
        ("sizeof(ztfast_value)".to_owned(), number(size_of::<RawValue>())),
        ("offsetof(ztfast_value, number)".to_owned(), number(offset_of!(RawValue, number))),
        ("offsetof(ztfast_value, data)".to_owned(), number(offset_of!(RawValue, data))),
        ("offsetof(ztfast_value, length)".to_owned(), number(offset_of!(RawValue, length))),
        ("offsetof(ztfast_value, kind)".to_owned(), number(offset_of!(RawValue, kind))),
        ("sizeof(ztfast_api)".to_owned(), number(size_of::<Api>())),
    ];
    macro_rules! entries {
        ($($name:ident)*) => {
            $(out.push((format!("offsetof(ztfast_api, {})", stringify!($name)), number(offset_of!(Api, $name))));)*
        };
    }
    entries! {
        abi_version size allows decide begin text entity literal kinds policy generation gate_clone gate_free
        batch_begin batch_text batch_run batch_evaluate batch_end code_name status_text refuse gate_without
            batch_without batch_refuse refresh parse set address element_kind parse_address decide_values set_time
        step_up
    }
    out.extend(Code::ALL.map(|code| (format!("ZTFAST_{code}"), i64::from(code.0))));
    out.extend(Status::ALL.map(|status| (format!("ZTFAST_{}", status.name()), i64::from(status.0))));
    let kinds = [
        ("OTHER", Kind::Other),
        ("BOOL", Kind::Bool),
        ("LONG", Kind::Long),
        ("STRING", Kind::String),
        ("ENTITY", Kind::Entity),
        ("DECIMAL", Kind::Decimal),
        ("DATETIME", Kind::Datetime),
        ("DURATION", Kind::Duration),
        ("ADDRESS", Kind::Address),
        ("SET", Kind::Set),
    ];
    out.extend(kinds.map(|(name, kind)| (format!("ZTFAST_{name}"), i64::from(kind as u8))));
    out
}

#[test]
fn the_header_has_the_same_numbers_sizes_and_offsets() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Command::new(&compiler).arg("--version").output().is_err() {
        // This bypasses the capture of output of tests that pass.
        let why = format!("SKIPPED: no C compiler ({compiler}): ztfast.h was not compared with the table\n");
        std::io::stderr().write_all(why.as_bytes()).expect("standard error can be written to");
        return;
    }
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ztfast/include");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("header.c"), folder.join("header"));
    let mut text = "#include <stdio.h>\n#include \"ztfast.h\"\nint main(void) {\n".to_owned();
    for (expression, _) in expected() {
        writeln!(text, "    printf(\"{expression}=%lld\\n\", (long long)({expression}));").expect("a String takes it");
    }
    text.push_str("    printf(\"ZTFAST_CAPSULE=%s\\n\", ZTFAST_CAPSULE);\n");
    for status in CHECKED {
        let name = status.name();
        writeln!(text, "    printf(\"{name}=%s\\n\", ztfast_check_text(ZTFAST_{name}));").expect("a String takes it");
    }
    text.push_str("    return 0;\n}\n");
    std::fs::write(&source, text).expect("the target folder can be written to");
    let built = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(&include)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("the compiler starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = Command::new(&program).output().expect("the program starts").stdout;
    let said: Vec<String> = String::from_utf8_lossy(&said).lines().map(str::to_owned).collect();
    let mut wanted: Vec<String> = expected().iter().map(|(name, value)| format!("{name}={value}")).collect();
    wanted.push(format!("ZTFAST_CAPSULE={}", CAPSULE.to_str().expect("the name is ASCII")));
    wanted.extend(CHECKED.map(|status| format!("{}=ztfast: {}", status.name(), status.text())));
    assert_eq!(said, wanted);
}

#[test]
fn the_header_lists_each_status_with_its_text() {
    let header = include_str!("../../../ztfast/include/ztfast.h");
    let listed = header.split("/* Statuses of all other calls").nth(1).expect("the header has a list of statuses");
    let listed = listed.split("enum {\n").nth(1).and_then(|list| list.split("\n};").next()).expect("it is an enum");
    let entry = |status: Status| format!("    /* {} */\n    ZTFAST_{} = {}", status.text(), status.name(), status.0);
    assert_eq!(listed, Status::ALL.map(entry).join(",\n"));
}

#[test]
fn the_header_has_no_entry_that_the_table_lacks() {
    let header = include_str!("../../../ztfast/include/ztfast.h");
    let table = header.split("typedef struct {").last().expect("the table is the header's last struct");
    let table = table.split("} ztfast_api;").next().expect("it ends with its name");
    let functions = table.matches("(*").count();
    assert_eq!(size_of::<Api>(), 2 * size_of::<u32>() + functions * size_of::<usize>());
}
