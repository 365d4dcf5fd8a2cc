//! What burn's dashboard and burn's logs are told.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::Progress;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricAttributes, MetricDefinition, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use burn::train::{LearnerSummary, SupervisedTraining};
use ergometer::Kind;

use crate::gym::{BATCH, Gym, WATTS, loader};
