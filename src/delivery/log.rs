use super::Delivery;

/// placeholder
pub fn job_log(_: &Delivery) -> String {
    String::new()
}
