"""All peers, in the order in which they are measured."""

from bench.peers import Peer
from bench.peers.awaithumans import AwaitHumans
from bench.peers.stock_drf import StockDRF
from bench.peers.stock_fastapi import StockFastAPI
from bench.peers.stock_prefect import Prefect
from bench.peers.stock_restate import Restate

PEERS: tuple[Peer, ...] = (StockDRF(), StockFastAPI(), AwaitHumans(), Restate(), Prefect())
