"""Shipping a student: ONNX and int8 files, checked against PyTorch and measured."""

from tutelage.deploy.export import ExportError, export_onnx
from tutelage.deploy.measure import latency, size_bytes
from tutelage.deploy.quantise import quantise
from tutelage.deploy.runtime import OnnxModel, metadata
from tutelage.deploy.ship import Shipped, ship, shipped_table

__all__ = ["ExportError", "OnnxModel", "Shipped", "export_onnx", "latency", "metadata", "quantise", "ship", "shipped_table", "size_bytes"]
