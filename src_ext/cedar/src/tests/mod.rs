//! The tests of the crate, and the small sources that they share.

mod authorizer;
mod diagnostics;
mod exactness;
mod literals;
mod live;
mod lowering;
mod model;
mod policies;
mod unlisted;
mod values;

use crate::ir::{Datum, Model, Uid};
use crate::{Answer, Diagnostic, LoadError, Loaded, Mode, SourceFile, Sources, parse_uid};

/// The schema of a small desk.
const SCHEMA: &str = r#"
    entity Desk;
    entity Human in [Desk] {
        name: String,
        limit: Long,
        note?: String,
        boss?: Human,
    } tags String;
    entity Venue enum ["XNAS", "XLON"];
    entity Instrument { venue: Venue, closes: datetime, owner: Human };
    type Order = { notional: decimal, legs?: Set<{ qty: Long, venue: Venue }> };
    action "all";
    action trade in ["all"];
    action "order.new" in [trade] appliesTo {
        principal: Human,
        resource: Instrument,
        context: { order: Order, ip: ipaddr, age: duration, at: datetime, ok?: Bool, by?: Human },
    };
    action view appliesTo { principal: [Human, Desk], resource: [Instrument, Venue] };
"#;

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.to_owned(), text: text.to_owned() }
}

fn sources(files: &[(&str, &str)]) -> Sources {
    Sources {
        files: files.iter().map(|(name, text)| file(name, text)).collect(),
        schema: file("desk.cedarschema", SCHEMA),
        entities: None,
    }
}

fn load(sources: &Sources, mode: Mode) -> Result<Loaded, LoadError> {
    crate::load(sources, mode, &|_, _| {})
}

/// Decide a request with Cedar over these entities.
#[track_caller]
fn ask(loaded: &Loaded, entities: Option<&SourceFile>, [p, a, r]: [&Uid; 3], context: &Datum) -> Answer {
    let store = loaded.authorizer.store(entities).unwrap();
    loaded.authorizer.authorize(p, a, r, context, &store).unwrap()
}

fn try_files(files: &[(&str, &str)], mode: Mode) -> Result<Loaded, LoadError> {
    load(&sources(files), mode)
}

#[track_caller]
fn loaded(files: &[(&str, &str)]) -> Loaded {
    try_files(files, Mode::Permissive).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn model(files: &[(&str, &str)]) -> Model {
    loaded(files).model
}

#[track_caller]
fn errors(files: &[(&str, &str)], mode: Mode) -> Vec<Diagnostic> {
    match try_files(files, mode) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.diagnostics,
    }
}

#[track_caller]
fn uid(text: &str) -> Uid {
    parse_uid(text).unwrap()
}
