"""jfsr demo: a page in the browser."""

from __future__ import annotations

import argparse
import contextlib
import sys


def demo(args: argparse.Namespace) -> None:
    """Serves the page until it is interrupted."""
    from jfsr import api, demo, photos

    demo.check_port(args.host, args.port)  # before anything is loaded
    with demo.own_folder():
        demo.gradio()  # before anything is loaded; it reads its folder from the environment
        networks = [api.load(name) for name in photos.models(args.checkpoint)]
        by = photos.BySize(networks, pose=api.read_pose, gate=api.gate())
        find = photos.detector()
        where = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{args.port}"
        print(f"{where} (Ctrl-C ends it)", flush=True)
        if args.host not in ("127.0.0.1", "localhost", "::1"):
            print(
                f"note: {args.host} can be reached by other computers; anyone there can use this page", file=sys.stderr
            )
        with contextlib.suppress(KeyboardInterrupt):
            demo.serve(by, find, host=args.host, port=args.port)
