//! A program of the shape of candle's `mnist-training`, as the README changes it.
#![expect(clippy::print_stdout, reason = "the program that is measured prints")]

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{AdamW, Module, Optimizer, VarBuilder, VarMap, loss, ops};
use ergometer::record::{State, Status};
use tempfile::TempDir;

use crate::gym::Log;

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

struct Args {
    epochs: usize,
}

const BSIZE: usize = 16;

fn train(args: &Args) -> AnyResult<()> {
    let dev = Device::cuda_if_available(0)?;
    let images = Tensor::rand(0f32, 1f32, (96, 64), &dev)?;
    let labels = Tensor::zeros(96, DType::U32, &dev)?;
    let varmap = VarMap::new();
    let model = candle_nn::linear(64, 10, VarBuilder::from_varmap(&varmap, DType::F32, &dev))?;
    let mut opt = AdamW::new_lr(varmap.all_vars(), 1e-2)?;
    let batch_idxs: Vec<usize> = (0..96 / BSIZE).collect();

    let run = ergometer_candle::meter(&dev)?.run("cnn").start()?;
    for epoch in run.epochs(1..args.epochs) {
        let mut sum_loss = 0f32;
        for batch_idx in run.steps(batch_idxs.iter()) {
            let train_images = images.narrow(0, batch_idx * BSIZE, BSIZE)?;
            let train_labels = labels.narrow(0, batch_idx * BSIZE, BSIZE)?;
            let log_sm = ops::log_softmax(&model.forward(&train_images)?, D::Minus1)?;
            let loss = loss::nll(&log_sm, &train_labels)?;
            opt.backward_step(&loss)?;
            sum_loss += loss.to_vec0::<f32>()?;
        }
        let avg_loss = sum_loss / batch_idxs.len() as f32;
        let _eval = run.phase("eval");
        let test_logits = model.forward(&images)?;
        let test_loss = loss::cross_entropy(&test_logits, &labels)?.to_scalar::<f32>()?;
        println!("{epoch:4} train loss {avg_loss:8.5} test loss {test_loss:8.5}");
    }
    println!("{}", run.finish()?);
    Ok(())
}

#[test]
fn candles_own_mnist_training_takes_three_changed_lines() {
    let home = TempDir::new().unwrap();
    // The program says nothing of directories, so its run is in `runs`. No other test here looks at relative paths.
    std::env::set_current_dir(home.path()).unwrap();
    train(&Args { epochs: 4 }).unwrap();
    let runs: Vec<_> =
        home.path().join("runs").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let [run] = &runs[..] else { panic!("{runs:?}") };

    let log = Log::read(run);
    assert_eq!(log.manifest.state, State::Complete);
    assert_eq!(
        log.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    for (epoch, evaluation) in log.epochs.iter().zip(&log.phases) {
        assert_eq!(log.steps_of(epoch).count(), 6);
        assert_eq!(
            (evaluation.phase.as_deref(), evaluation.parent),
            (Some("eval"), Some(epoch.id))
        );
        assert!(log.steps_of(epoch).all(|step| step.end <= evaluation.start));
    }
    assert!(log.windows().all(|window| window.status == Status::Complete));
}
