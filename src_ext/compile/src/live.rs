//! Which live attributes the policies of an action read: an engine fills in these alone.

use std::collections::BTreeSet;
use ztfast_bundle::{Field, Node};
use ztfast_cedar::LIVE;
use ztfast_cedar::ir::{Expr, Var};

/// The live attributes that some expressions read.
#[derive(Default)]
struct Reads {
    names: BTreeSet<String>,
    /// Whether they may read all.
    all: bool,
}

/// Return the names of the live attributes that expressions read, of those that a context has.
pub(crate) fn reads<'e>(exprs: impl Iterator<Item = &'e Expr>, context: &[Field]) -> Vec<String> {
    let mut reads = Reads::default();
    exprs.for_each(|expr| reads.add(expr));
    let live = context.iter().find(|field| field.name == LIVE).map(|field| &field.node);
    let Some(Node::Record { fields, .. }) = live else { return Vec::new() };
    let names = fields.iter().map(|field| &field.name);
    names.filter(|name| reads.all || reads.names.contains(*name)).cloned().collect()
}

impl Reads {
    fn add(&mut self, expr: &Expr) {
        match expr {
            Expr::GetAttr(of, name) if is_live(of) => _ = self.names.insert(name.to_string()),
            Expr::HasAttr(of, path) if is_live(of) => self.names.extend(path.first().map(ToString::to_string)),
            Expr::GetAttr(of, name) if is_context(of) => self.all |= **name == *LIVE,
            Expr::HasAttr(of, path) if is_context(of) => {
                let mut parts = path.iter();
                // The record itself is always there.
                if parts.next().is_some_and(|name| **name == *LIVE) {
                    self.names.extend(parts.next().map(ToString::to_string));
                }
            }
            // A context as a whole, and what the compiler does not understand.
            Expr::Var(Var::Context) | Expr::Opaque(_) => self.all = true,
            _ => expr.children(&mut |child| self.add(child)),
        }
    }
}

const fn is_context(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Context))
}

fn is_live(expr: &Expr) -> bool {
    matches!(expr, Expr::GetAttr(of, name) if is_context(of) && **name == *LIVE)
}
