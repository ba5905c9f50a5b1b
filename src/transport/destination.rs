/// Where webhooks may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationPolicy {}
