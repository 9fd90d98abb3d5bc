"""Chat models: messages in, text and log-probabilities out, behind HTTP, on this machine, or from a program."""

from tutelage.models.chat.agent import ToolAgent
from tutelage.models.chat.cache import Cache, cache_key
from tutelage.models.chat.generate import Drawn, generate
from tutelage.models.chat.limits import Prices
from tutelage.models.chat.local import TransformersChat
from tutelage.models.chat.meter import Meter, Usage
from tutelage.models.chat.openai_http import OpenAIChat, Tally
from tutelage.models.chat.protocol import Chat, Conversation, Message, Reply, Sampling, TokenLogProb
from tutelage.models.chat.scripted import Scripted
from tutelage.models.chat.specs import SCHEMES, from_spec, is_chat
from tutelage.models.chat.text import printable

__all__ = [
    "SCHEMES",
    "Cache",
    "Chat",
    "Conversation",
    "Drawn",
    "Message",
    "Meter",
    "OpenAIChat",
    "Prices",
    "Reply",
    "Sampling",
    "Scripted",
    "Tally",
    "TokenLogProb",
    "ToolAgent",
    "TransformersChat",
    "Usage",
    "cache_key",
    "from_spec",
    "generate",
    "is_chat",
    "printable",
]
