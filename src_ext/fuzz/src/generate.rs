//! A generated case, in parts that the shrinker can remove.

use crate::case::{Ask, Case, Step, Swap, entity_json};
use crate::dice::{chance, pick};
use crate::literals::Literals;
use crate::policies::{Policy, ask_for_step_ups, links, policies, text};
use crate::texts::uid_json;
use crate::trade::Trade;
use crate::world::{Entity, World};
use fastrand::Rng;
use ztfast_cedar::ir::{Datum, Uid};

/// A case in parts.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    /// Whether this is a trading world.
    pub trading: bool,
    pub schema: String,
    pub policies: Vec<Policy>,
    /// Whether a forbid that errs denies. A bundle that is swapped in has it the other way round.
    pub strict_errors: bool,
    pub entities: Vec<Entity>,
    pub steps: Vec<Change>,
}

/// A change of the store, and the requests after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// The policies of the bundle that replaces the one before.
    pub swap: Option<Vec<Policy>>,
    pub upsert: Vec<Entity>,
    pub remove: Vec<Uid>,
    pub asks: Vec<Ask>,
}

/// The bound on Cedar's work: the policies that it evaluates for one world, over all requests.
const WORK: usize = 16_000;
const MOST_REQUESTS: usize = 4_000;

impl Generated {
    /// Make a case. Every second one is a trading world.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut made = if seed % 2 == 1 { Self::trading(&mut rng) } else { Self::any(&mut rng) };
        let swaps = made.steps.iter_mut().filter_map(|step| step.swap.as_mut()).flatten();
        ask_for_step_ups(&mut rng, made.policies.iter_mut().chain(swaps));
        made.strict_errors = rng.bool();
        made
    }

    fn trading(rng: &mut Rng) -> Self {
        let mut trade = Trade::new(rng);
        let policies = trade.policies(rng);
        let entities = trade.world.entities(rng);
        let mut later: Vec<Change> = Vec::new();
        let mut store = entities.clone();
        for _ in 0..[0, 0, 1, 2][rng.usize(0..4)] {
            // A bundle that is swapped in holds the changes made before.
            let swap = rng.bool().then(|| trade.policies(rng));
            let changed = swap.is_none() || rng.bool();
            let step = if changed { change(rng, &trade.world, &mut store) } else { Change::default() };
            later.push(Change { swap, ..step });
        }
        let all = || later.iter().filter_map(|step| step.swap.as_ref()).chain([&policies]);
        let most = all().map(Vec::len).max().unwrap_or(0);
        let count = (WORK / (most + 1)).clamp(24, MOST_REQUESTS) / (later.len() + 1);
        let mut steps = vec![Change::default()];
        steps.extend(later);
        for step in &mut steps {
            step.asks = trade.asks(rng, count);
        }
        Self { trading: true, schema: trade.world.schema(), policies, strict_errors: false, entities, steps }
    }

    fn any(rng: &mut Rng) -> Self {
        let world = World::new(rng);
        let policies = policies(rng, &world);
        let entities = world.entities(rng);
        let count = (WORK / (policies.len() + 1)).clamp(24, MOST_REQUESTS);
        let changes = if chance(rng, 50) { rng.usize(1..4) } else { 0 };
        let mut store = entities.clone();
        let mut steps = Vec::new();
        for number in 0..=changes {
            let mut step = if number == 0 { Change::default() } else { change(rng, &world, &mut store) };
            step.asks = (0..count / (changes + 1)).map(|_| ask(rng, &world)).collect();
            steps.push(step);
        }
        Self { trading: false, schema: world.schema(), policies, strict_errors: false, entities, steps }
    }

    /// Write the case as text.
    pub fn case(&self) -> Case {
        let mut strict_errors = self.strict_errors;
        let mut swap = |policies: &Vec<Policy>| {
            strict_errors = !strict_errors;
            Swap { policies: text(policies), links: links(policies), strict_errors }
        };
        let mut step = |change: &Change| Step {
            swap: change.swap.as_ref().map(&mut swap),
            upsert: change.upsert.iter().map(entity_json).collect(),
            remove: change.remove.iter().map(uid_json).collect(),
            requests: Vec::new(),
        };
        Case {
            found: String::new(),
            schema: self.schema.clone(),
            policies: text(&self.policies),
            links: links(&self.policies),
            strict_errors: self.strict_errors,
            entities: self.entities.iter().map(entity_json).collect(),
            steps: self.steps.iter().map(&mut step).collect(),
        }
    }

    /// Write the case with its requests, as the file that a failure leaves.
    pub fn file(&self, found: &str) -> Case {
        let mut case = self.case();
        found.clone_into(&mut case.found);
        for (step, change) in case.steps.iter_mut().zip(&self.steps) {
            step.requests = change.asks.iter().map(Ask::text).collect();
        }
        case
    }

    /// Return the requests of each step.
    pub fn asks(&self) -> Vec<Vec<Ask>> {
        self.steps.iter().map(|change| change.asks.clone()).collect()
    }
}

fn ask(rng: &mut Rng, world: &World) -> Ask {
    let actions = world.applicable();
    let action = *pick(rng, &actions);
    let Some((principals, resources)) = &action.applies else { unreachable!("only such actions are picked") };
    let (principal, resource) = (*pick(rng, principals), *pick(rng, resources));
    let mut context = world.values(rng, &action.context);
    for value in context.values_mut() {
        if matches!(value, Datum::String(_)) && chance(rng, 15) {
            *value = Datum::String(Literals::odd_text(rng).into());
        }
    }
    let resource = world.uid(rng, resource);
    let mut principal = world.uid(rng, principal);
    // Use the same entity on both sides, if the schema allows it.
    if principal.ty == resource.ty && chance(rng, 25) {
        principal = resource.clone();
    }
    Ask { principal, action: action.uid.clone(), resource, context: Datum::Record(context) }
}

/// Make a change of a few entities, and apply it to `store`.
fn change(rng: &mut Rng, world: &World, store: &mut Vec<Entity>) -> Change {
    let mut made = Change::default();
    for _ in 0..rng.usize(1..7) {
        let ty = rng.usize(0..world.types.len());
        let uid = world.uid(rng, ty);
        let known = store.iter().any(|entity| entity.uid == uid);
        let named = made.upsert.iter().any(|entity| entity.uid == uid) || made.remove.contains(&uid);
        if named {
            continue;
        }
        if known && chance(rng, 30) {
            made.remove.push(uid);
            continue;
        }
        made.upsert.push(world.entity(rng, ty, uid));
    }
    store.retain(|entity| !made.remove.contains(&entity.uid) && made.upsert.iter().all(|new| new.uid != entity.uid));
    store.extend(made.upsert.iter().cloned());
    made
}
