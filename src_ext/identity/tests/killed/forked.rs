//! What a forked child may do with its parent's table and list: nothing but open its own.

use crate::child::Child;
use crate::host::{Folder, key, line, row};
use ztfast_identity::{Kept, Lookup, Revoked, Row, Table, TableError};
use ztfast_pages::Residence;

/// Return what is wrong.
pub fn run() -> Vec<String> {
    let folder = Folder::new();
    let (table, list) = (folder.table(2), folder.list());
    let (private, in_memory) = (Table::private(8, Residence::default()).unwrap(), Revoked::in_memory());
    let now = list.current().unwrap();
    for table in [&table, &private] {
        assert_eq!(table.put(&row(1, 0), table.begin(), 5, &now).unwrap(), Kept::Kept);
    }
    in_memory.append(&line(1)).unwrap();
    let uses_its_parents = Child::of(|| {
        let mut out = Row::empty();
        let put = table.put(&row(2, 0), table.begin(), 5, &now);
        assert!(matches!(put, Err(TableError::Lock { .. })), "a child wrote into its parent's table");
        assert!(list.current().is_err() && list.append(&line(7)).is_err(), "a child used its parent's list");
        assert!(private.is_empty() && private.get(&key(1), 1, 5, &now, &mut out) == Lookup::Missing);
        let own = (folder.table(2), folder.list());
        assert_eq!(own.0.get(&key(1), 1, 5, &now, &mut out), Lookup::Found);
        assert!(own.1.append(&line(8)).is_ok());
    });
    let mut faults = Vec::new();
    if !uses_its_parents.ends_well() || !list.lines().is_ok_and(|lines| lines == [line(8)]) {
        faults.push("a child used what its parent had opened, or could not open its own".to_owned());
    }
    faults
}
