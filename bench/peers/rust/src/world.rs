//! The files that the generator wrote.

use crate::outcome::Outcome;
use serde::Deserialize;
use std::path::Path;

/// `tables.json`: the policies as plain tables.
#[derive(Deserialize)]
pub struct Tables {
    /// Id, strategy, desk, region, venues.
    pub algos: Vec<(String, String, String, String, Vec<String>)>,
    /// Id, book, region, venue, whether the venue is a dark pool, lists.
    pub instruments: Vec<(String, String, String, String, bool, Vec<String>)>,
    /// Desk or strategy, book, limits of notional and quantity.
    pub permits: Vec<(String, String, i64, i64)>,
    /// Desk and list.
    pub walls: Vec<(String, String)>,
    /// The firm's limit of the notional.
    pub max_notional: i64,
    /// The limit of the quantity in a dark pool.
    pub max_dark_qty: i64,
}

/// `requests.json`, a row: algorithm, instrument, notional, quantity.
#[derive(Deserialize)]
pub struct Order(pub String, pub String, pub i64, pub i64);

/// Read the tables.
pub fn tables(folder: &Path) -> Outcome<Tables> {
    Ok(serde_json::from_str(&text(folder, "tables.json")?)?)
}

/// Read the requests.
pub fn orders(folder: &Path) -> Outcome<Vec<Order>> {
    Ok(serde_json::from_str(&text(folder, "requests.json")?)?)
}

/// Read a file.
pub fn text(folder: &Path, name: &str) -> Outcome<String> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}
