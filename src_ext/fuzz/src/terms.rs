//! Random conditions of trading policies: ranges, sums and products near overflow, guards, small sets, addresses, and a
//! few that only the interpreter decides.
//!
//! Each condition notes the numbers at which its answer may change, so that requests are made of values next to them.

use crate::dice::{chance, pick};
use crate::exprs::kind;
use crate::literals::{address, scaled};
use crate::texts::cedar_text;
use crate::tree::{Kind, Tree};
use crate::types::Ty;
use crate::world::World;
use fastrand::Rng;
use std::collections::BTreeMap;

/// For each attribute of an action's context, by its path: the numbers at which the answer of a condition may change.
pub(crate) type Edges = BTreeMap<String, Vec<i64>>;

/// A value that policies read.
#[derive(Debug, Clone)]
pub(crate) struct Attr {
    /// The path, as it is written behind the variable.
    pub path: String,
    pub variable: &'static str,
    pub ty: Ty,
    /// The paths of what may be absent: optional records around it, and itself.
    pub optional: Vec<String>,
}

impl Attr {
    fn text(&self) -> String {
        format!("{}.{}", self.variable, self.path)
    }

    fn tree(&self) -> Tree {
        Tree::leaf(kind(&self.ty), self.text())
    }

    /// Write the conditions under which reading the value is no error.
    fn guards(&self, rng: &mut Rng) -> Vec<String> {
        if self.optional.len() > 1 && rng.bool() {
            return self.optional.last().map(|path| format!("({} has {path})", self.variable)).into_iter().collect();
        }
        let has = |path: &String| match path.rsplit_once('.') {
            Some((record, name)) => format!("({}.{record} has {name})", self.variable),
            None => format!("({} has {path})", self.variable),
        };
        self.optional.iter().map(has).collect()
    }
}

/// What a world's conditions are made of, besides ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taste {
    pub arithmetic: bool,
    /// Whether some guards are missing.
    pub careless: bool,
    /// Whether some conditions can only be decided by the interpreter.
    pub texts_and_ancestors: bool,
}

/// Makes conditions for requests of one action.
pub(crate) struct Terms<'w> {
    pub world: &'w World,
    pub taste: Taste,
    /// The attributes of the context.
    pub context: &'w [Attr],
    /// The attributes of the principal and of the resource.
    pub sides: &'w [Attr],
    pub edges: &'w mut Edges,
    /// The guards that the condition so far needs and does not have.
    pub open: Vec<String>,
}

const FACTORS: [i64; 9] = [2, 3, 10, 100, 10_000, -1, -3, i64::MAX, i64::MIN];
const ORDERS: [&str; 4] = ["<", "<=", ">", ">="];

fn comparison(rng: &mut Rng, ty: &Ty, a: Tree, b: Tree) -> Tree {
    let (a, b) = if chance(rng, 40) { (b, a) } else { (a, b) };
    if *ty == Ty::Decimal {
        let method = *pick(rng, &["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]);
        return Tree::of(Kind::Bool, &format!("_.{method}(_)"), [a, b]);
    }
    Tree::of(Kind::Bool, &format!("(_ {} _)", pick(rng, &ORDERS)), [a, b])
}

fn number_tree(ty: &Ty, number: i64) -> Tree {
    Tree::leaf(kind(ty), scaled(ty, number).map_or_else(|| number.to_string(), |value| cedar_text(&value)))
}

impl Terms<'_> {
    /// Make a condition with its guards.
    pub fn condition(&mut self, rng: &mut Rng, depth: u32) -> Tree {
        if depth > 0 && chance(rng, 65) {
            let mut inner = || self.condition(rng, depth - 1);
            let (a, b, c) = (inner(), inner(), inner());
            let (pattern, count) = match rng.u32(0..13) {
                0..4 => ("(_ && _)", 2),
                4..8 => ("(_ || _)", 2),
                8 => ("!_", 1),
                9 => ("!(_ && _)", 2),
                10 => ("!(_ || _)", 2),
                11 => ("(_ == _)", 2),
                _ => ("(if _ then _ else _)", 3),
            };
            return Tree::of(Kind::Bool, pattern, [a, b, c].into_iter().take(count));
        }
        let made = self.bare(rng);
        let mut guards = std::mem::take(&mut self.open);
        if self.taste.careless && chance(rng, 35) && !guards.is_empty() {
            guards.remove(rng.usize(0..guards.len()));
        }
        guards.dedup();
        let guard = |text: String| Tree::leaf(Kind::Bool, text);
        if guards.len() == 1 && chance(rng, 15) {
            return Tree::of(Kind::Bool, "(!_ || _)", [guard(guards.remove(0)), made]);
        }
        let made = if chance(rng, 15) { Tree::of(Kind::Bool, "!_", [made]) } else { made };
        guards.into_iter().rev().fold(made, |made, text| Tree::of(Kind::Bool, "(_ && _)", [guard(text), made]))
    }

    /// Make a condition without guards.
    fn bare(&mut self, rng: &mut Rng) -> Tree {
        if self.taste.texts_and_ancestors && chance(rng, 12) {
            return self.interpreted(rng);
        }
        let Some(attr) = self.read(rng, |_| true) else { return Tree::leaf(Kind::Bool, "true") };
        if chance(rng, 6)
            && let Some(guard) = attr.guards(rng).pop()
        {
            self.open.pop();
            return Tree::leaf(Kind::Bool, guard);
        }
        match attr.ty {
            Ty::Bool => match rng.u32(0..4) {
                0 => Tree::of(Kind::Bool, "(_ == true)", [attr.tree()]),
                1 => Tree::of(Kind::Bool, "(_ != true)", [attr.tree()]),
                _ => attr.tree(),
            },
            Ty::Ip => {
                let constant = Tree::leaf(Kind::Extension, cedar_text(&address(rng)));
                match rng.u32(0..8) {
                    0..5 => Tree::of(Kind::Bool, "_.isInRange(_)", [attr.tree(), constant]),
                    5 => Tree::of(Kind::Bool, "(_ == _)", [attr.tree(), constant]),
                    _ => {
                        let method = *pick(rng, &["isLoopback", "isMulticast", "isIpv4", "isIpv6"]);
                        Tree::of(Kind::Bool, &format!("_.{method}()"), [attr.tree()])
                    }
                }
            }
            Ty::Text | Ty::Entity(_) => self.among(rng, &attr),
            _ => self.numeric(rng, &attr),
        }
    }

    /// Make a condition that asks for texts' letters or for ancestors.
    fn interpreted(&mut self, rng: &mut Rng) -> Tree {
        let text = |attr: &Attr| matches!(attr.ty, Ty::Text | Ty::Entity(_));
        match self.read(rng, text) {
            Some(attr) if attr.ty == Ty::Text => {
                let pattern = self.world.literals.pattern(rng).replace('_', "");
                Tree::of(Kind::Bool, &format!("(_ like {pattern})"), [attr.tree()])
            }
            Some(attr) => {
                let above = self.world.literal(rng, &attr.ty);
                Tree::of(Kind::Bool, "(_ in _)", [attr.tree(), Tree::leaf(Kind::Entity, above)])
            }
            None => Tree::leaf(Kind::Bool, "(principal in resource)"),
        }
    }

    /// Pick an attribute of the context, and leave its guards open.
    fn read(&mut self, rng: &mut Rng, fits: impl Fn(&Attr) -> bool) -> Option<Attr> {
        let fitting: Vec<&Attr> = self.context.iter().filter(|attr| fits(attr)).collect();
        let attr = (*fitting.get(rng.usize(0..fitting.len().max(1)))?).clone();
        self.open.extend(attr.guards(rng));
        Some(attr)
    }

    /// Pick a number of a type, and note it as an edge of an attribute.
    fn number(&mut self, rng: &mut Rng, attr: &Attr, ty: &Ty) -> i64 {
        let picked = self.world.literals.number(rng, ty).unwrap_or_default();
        let number = if chance(rng, 4) { *pick(rng, &[i64::MAX, i64::MIN]) } else { picked };
        let number = number.saturating_add(if chance(rng, 25) { rng.i64(-1..2) } else { 0 });
        if attr.ty == *ty {
            self.edge(attr, number);
        }
        number
    }

    fn edge(&mut self, attr: &Attr, number: i64) {
        if attr.variable == "context" {
            self.edges.entry(attr.path.clone()).or_default().push(number);
        }
    }

    /// Pick a value that an attribute may have in a request.
    fn likely(&self, rng: &mut Rng, attr: &Attr) -> i64 {
        match self.edges.get(&attr.path) {
            Some(edges) if attr.variable == "context" => *pick(rng, edges),
            _ => self.world.literals.number(rng, &attr.ty).unwrap_or_default(),
        }
    }

    /// Make equalities with constants.
    fn among(&mut self, rng: &mut Rng, attr: &Attr) -> Tree {
        let count = rng.usize(1..5);
        let is_number = scaled(&attr.ty, 0).is_some();
        let mut constants: Vec<Tree> = Vec::new();
        for _ in 0..count {
            constants.push(if is_number {
                number_tree(&attr.ty, self.number(rng, attr, &attr.ty))
            } else {
                Tree::leaf(kind(&attr.ty), self.world.literal(rng, &attr.ty))
            });
        }
        match rng.u32(0..5) {
            0 | 1 => {
                let set = Tree::joined(Kind::Set, "[", ", ", "]", constants);
                Tree::of(Kind::Bool, "_.contains(_)", [set, attr.tree()])
            }
            2 => {
                let is = |constant| Tree::of(Kind::Bool, "_ == _", [attr.tree(), constant]);
                Tree::joined(Kind::Bool, "(", " || ", ")", constants.into_iter().map(is).collect())
            }
            sign => {
                let pattern = if sign == 3 { "(_ == _)" } else { "(_ != _)" };
                let pair = constants.into_iter().take(1).chain([attr.tree()]);
                Tree::of(Kind::Bool, pattern, pair)
            }
        }
    }

    /// Make a condition on a number.
    fn numeric(&mut self, rng: &mut Rng, attr: &Attr) -> Tree {
        let ty = &attr.ty;
        match rng.u32(0..100) {
            0..12 => {
                let (a, b) = (self.number(rng, attr, ty), self.number(rng, attr, ty));
                let pair = [
                    comparison(rng, ty, attr.tree(), number_tree(ty, a)),
                    comparison(rng, ty, attr.tree(), number_tree(ty, b)),
                ];
                Tree::of(Kind::Bool, if rng.bool() { "(_ && _)" } else { "(_ || _)" }, pair)
            }
            12..25 => self.among(rng, attr),
            25..58 if self.taste.arithmetic => match ty {
                Ty::Long => self.sum(rng, attr),
                Ty::Datetime => self.moment(rng, attr),
                Ty::Duration => self.units(rng, attr),
                _ => self.bound(rng, attr),
            },
            _ => self.bound(rng, attr),
        }
    }

    /// Compare a number with another.
    fn bound(&mut self, rng: &mut Rng, attr: &Attr) -> Tree {
        let other = self.other(rng, attr);
        comparison(rng, &attr.ty, attr.tree(), other)
    }

    /// Make an operand of an attribute's type: a constant, a cap, or sometimes another argument.
    fn other(&mut self, rng: &mut Rng, attr: &Attr) -> Tree {
        let dice = rng.u32(0..10);
        if (4..8).contains(&dice) {
            let caps: Vec<Attr> = self.sides.iter().filter(|cap| cap.ty == attr.ty).cloned().collect();
            if !caps.is_empty() {
                let cap = pick(rng, &caps);
                self.open.extend(cap.guards(rng));
                for &number in self.world.literals.numbers(&cap.ty) {
                    self.edge(attr, number);
                }
                return cap.tree();
            }
        }
        if dice == 8
            && let Some(other) = self.read(rng, |other| other.ty == attr.ty && other.path != attr.path)
        {
            let number = self.number(rng, attr, &attr.ty);
            self.edge(&other, number);
            return other.tree();
        }
        number_tree(&attr.ty, self.number(rng, attr, &attr.ty))
    }

    /// Make a condition on a sum or a product, whose edges are where it overflows and where it meets the constant.
    fn sum(&mut self, rng: &mut Rng, x: &Attr) -> Tree {
        let factor = |rng: &mut Rng| if chance(rng, 94) { FACTORS[rng.usize(0..7)] } else { *pick(rng, &FACTORS) };
        let long = |n: i64| number_tree(&Ty::Long, n);
        let (a, b) = (factor(rng), factor(rng));
        let at = if chance(rng, 20) { *pick(rng, &[i64::MAX, i64::MIN]) } else { self.likely(rng, x) };
        let y = self.read(rng, |other| other.ty == Ty::Long && other.path != x.path);
        let beside = match &y {
            Some(y) => self.likely(rng, y),
            None => self.number(rng, x, &Ty::Long),
        };
        let other = y.as_ref().map_or_else(|| long(beside), Attr::tree);
        let (left, value, pole) = match rng.u32(0..8) {
            0 => (
                Tree::of(Kind::Long, "(_ + _)", [x.tree(), other]),
                at.checked_add(beside),
                i64::MAX.checked_sub(beside),
            ),
            1 => (
                Tree::of(Kind::Long, "(_ - _)", [x.tree(), other]),
                at.checked_sub(beside),
                i64::MIN.checked_add(beside),
            ),
            2 => (Tree::of(Kind::Long, "(_ * _)", [x.tree(), long(a)]), at.checked_mul(a), i64::MAX.checked_div(a)),
            3 | 4 => {
                let parts = [x.tree(), long(a), other, long(b)];
                let value = at.checked_mul(a).zip(beside.checked_mul(b)).and_then(|(p, q)| p.checked_add(q));
                let rest = beside.checked_mul(b).and_then(|rest| i64::MAX.checked_sub(rest));
                let pattern = if rng.bool() { "((_ * _) + (_ * _))" } else { "((_ * _) - (_ * _))" };
                (Tree::of(Kind::Long, pattern, parts), value, rest.and_then(|rest| rest.checked_div(a)))
            }
            5 => (Tree::of(Kind::Long, "(-_)", [x.tree()]), at.checked_neg(), Some(i64::MIN)),
            6 => {
                let product = Tree::of(Kind::Long, "(_ * _)", [x.tree(), other]);
                (product, at.checked_mul(beside), i64::MAX.checked_div(beside))
            }
            _ => (Tree::of(Kind::Long, "(_ + _)", [long(a), x.tree()]), at.checked_add(a), i64::MAX.checked_sub(a)),
        };
        self.edge(x, at);
        if let Some(y) = &y {
            self.edge(y, beside);
        }
        if let Some(pole) = pole {
            self.edge(x, pole);
            self.edge(x, pole.saturating_neg());
        }
        let value = value.unwrap_or(at).saturating_add(if chance(rng, 20) { rng.i64(-1..2) } else { 0 });
        match rng.u32(0..10) {
            0 => Tree::of(Kind::Bool, "(_ == _)", [left, long(value)]),
            1 => {
                let other = self.other(rng, x);
                comparison(rng, &Ty::Long, left, other)
            }
            _ => comparison(rng, &Ty::Long, left, long(value)),
        }
    }

    /// Make a condition on a moment, moved or measured from another.
    fn moment(&mut self, rng: &mut Rng, x: &Attr) -> Tree {
        let at = self.likely(rng, x);
        let duration = |rng: &mut Rng, terms: &mut Self| match rng.u32(0..10) {
            0 => *pick(rng, &[i64::MAX, i64::MIN]),
            1..4 => 2_000,
            _ => terms.world.literals.number(rng, &Ty::Duration).unwrap_or_default(),
        };
        self.edge(x, at);
        match rng.u32(0..6) {
            0 | 1 => {
                let by = duration(rng, self);
                if let Some(pole) = i64::MAX.checked_sub(by).or(i64::MIN.checked_sub(by)) {
                    self.edge(x, pole);
                }
                let moved = Tree::of(Kind::Extension, "_.offset(_)", [x.tree(), number_tree(&Ty::Duration, by)]);
                let to = at.saturating_add(by);
                let other = if rng.bool() { self.other(rng, x) } else { number_tree(&Ty::Datetime, to) };
                comparison(rng, &Ty::Datetime, moved, other)
            }
            2 | 3 => {
                let from = self.other(rng, x);
                let least = duration(rng, self);
                self.edge(x, at.saturating_add(least));
                let age = Tree::of(Kind::Extension, "_.durationSince(_)", [x.tree(), from]);
                comparison(rng, &Ty::Duration, age, number_tree(&Ty::Duration, least))
            }
            4 => {
                let time = Tree::of(Kind::Extension, "_.toTime()", [x.tree()]);
                let of_day = at.rem_euclid(86_400_000);
                comparison(rng, &Ty::Duration, time, number_tree(&Ty::Duration, of_day))
            }
            _ => {
                let date = Tree::of(Kind::Extension, "_.toDate()", [x.tree()]);
                let midnight = at.saturating_sub(at.rem_euclid(86_400_000));
                self.edge(x, midnight);
                comparison(rng, &Ty::Datetime, date, number_tree(&Ty::Datetime, midnight))
            }
        }
    }

    /// Make a condition on a duration in units.
    fn units(&mut self, rng: &mut Rng, x: &Attr) -> Tree {
        let (method, unit) = *pick(
            rng,
            &[
                ("toMilliseconds", 1),
                ("toSeconds", 1_000),
                ("toMinutes", 60_000),
                ("toHours", 3_600_000),
                ("toDays", 86_400_000),
            ],
        );
        let at = self.likely(rng, x);
        self.edge(x, at / unit * unit);
        let units = Tree::of(Kind::Long, &format!("_.{method}()"), [x.tree()]);
        comparison(rng, &Ty::Long, units, number_tree(&Ty::Long, at / unit))
    }
}
