/// Harbor's JSON form of a policy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HarborPolicy {}
