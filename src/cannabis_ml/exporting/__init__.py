"""From a checkpoint to model files: ONNX and TFLite, float and quantized."""
