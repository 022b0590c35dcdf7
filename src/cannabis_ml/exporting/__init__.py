"""Export of checkpoints as ONNX and TFLite, and quantization of the files."""
