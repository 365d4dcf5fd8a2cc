//! What energy comes to: the operations with which published footprints of trainings are computed, one function each.
//!
//! Every function takes and gives quantities, says which formula it is and whose, and refuses what cannot carry an
//! answer. Energy of the IT equipment is the base; the overhead of the facility, carbon and money are applied to it, in
//! this order and once each.
//!
//! | question | functions |
//! |---|---|
//! | How much energy was that? | [`power_time`], [`chips_time`], [`gpu_hours`], [`flop_to_energy`] |
//! | What did it emit, and what would it have emitted elsewhere or at another time? | [`Consumption::co2e`], [`location_what_if`], [`start_time_what_if`], [`implied_intensity`], [`equivalents`] |
//! | And with the hardware's manufacture? | [`life_cycle_total`], [`embodied_amortised`] |
//! | What will the whole come to, and what did it? | [`projection`], [`projection_error`], [`development_multiplier`], [`component_shares`] |
//! | Was it worth it? | [`loglog_fit`], [`error_law`], [`halving_cost`], [`marginal_cost`], [`pareto`], [`amortisation`] |

mod carbon;
mod facility;
mod front;
mod life_cycle;
mod project;
mod scaling;
mod start_time;
mod worth;

pub use self::carbon::{
    Elsewhere, Implied, PLAUSIBLE, Place, Plausibility, equivalents, implied_intensity,
    location_what_if,
};
pub use self::facility::{
    Computation, Consumption, chips_time, flop_to_energy, gpu_hours, power_time,
};
pub use self::front::{Dominated, Front, pareto};
pub use self::life_cycle::{Amortised, LifeCycle, embodied_amortised, life_cycle_total};
pub use self::project::{component_shares, development_multiplier, projection, projection_error};
pub use self::scaling::{HalvingCost, LogLogFit, Prediction, error_law, halving_cost, loglog_fit};
pub use self::start_time::{Reference, StartTimes, start_time_what_if, start_totals};
pub use self::worth::{amortisation, marginal_cost, marginal_costs};
