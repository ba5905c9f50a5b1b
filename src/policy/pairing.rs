use super::{PolicyTarget, Target};
use crate::id::TargetId;

/// Which of a policy's targets keep their ids when `new` ones replace the `old`: equal type and address first, then by
/// position among those of the same type. The answer has one entry per new target; `None` gets a fresh id.
pub fn pair_targets(old: &[PolicyTarget], new: &[Target]) -> Vec<Option<TargetId>> {
    let alike = |o: &Target, n: &Target| o.target_type == n.target_type;
    let mut free: Vec<&PolicyTarget> = old.iter().collect();
    let mut take = |fits: &dyn Fn(&Target) -> bool| {
        let at = free.iter().position(|o| fits(&o.target))?;
        Some(free.remove(at).id)
    };
    let mut paired: Vec<_> = new.iter().map(|n| take(&|o| alike(o, n) && o.address == n.address)).collect();
    for (id, n) in paired.iter_mut().zip(new) {
        if id.is_none() {
            *id = take(&|o| alike(o, n));
        }
    }
    paired
}
