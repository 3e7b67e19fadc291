//! cedar-policy: policies, entities and requests parsed once; each decision goes through its authorizer.

use crate::outcome::Outcome;
use crate::serve::Peer;
use crate::world;
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use std::path::Path;
use std::str::FromStr;

/// The input that is parsed beforehand.
pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
}

impl Peer for Cedar {
    type Request = Request;

    fn allows(&mut self, request: &Request) -> bool {
        self.authorizer.is_authorized(request, &self.policies, &self.entities).decision() == Decision::Allow
    }
}

/// Parse policies, entities and requests.
pub fn peer(folder: &Path) -> Outcome<(Cedar, Vec<Request>)> {
    let (schema, _) = Schema::from_cedarschema_str(&world::text(folder, "schema.cedarschema")?)?;
    let policies = PolicySet::from_str(&world::text(folder, "policies.cedar")?)?;
    let entities = Entities::from_json_str(&world::text(folder, "entities.json")?, Some(&schema))?;
    let uid = |ty: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(id));
    let (algo, instrument) = (EntityTypeName::from_str("Algo")?, EntityTypeName::from_str("Instrument")?);
    let action = uid(&EntityTypeName::from_str("Action")?, "order.new");
    let request = |order: &world::Order| -> Outcome<Request> {
        let context = Context::from_pairs([
            ("notional".to_owned(), RestrictedExpression::new_long(order.2)),
            ("qty".to_owned(), RestrictedExpression::new_long(order.3)),
        ])?;
        let (principal, resource) = (uid(&algo, &order.0), uid(&instrument, &order.1));
        Ok(Request::new(principal, action.clone(), resource, context, Some(&schema))?)
    };
    let requests = world::orders(folder)?.iter().map(request).collect::<Outcome<_>>()?;
    Ok((Cedar { authorizer: Authorizer::new(), policies, entities }, requests))
}
