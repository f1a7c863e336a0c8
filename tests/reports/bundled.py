"""Where workbench/reports/vega.js comes from: the script that vl-convert-python bundles, and nothing else.

    python tests/reports/bundled.py > workbench/reports/vega.js
"""

import sys

RELEASE = "1.9.0.post1"  # of vl-convert-python: Vega 6.2, Vega-Lite 6.4, Vega-Embed 7.0
SNIPPET = "window.vegaEmbed=vegaEmbed;"  # all that page.js uses of it


def bundled():
    import vl_convert

    return vl_convert.javascript_bundle(SNIPPET)


if __name__ == "__main__":
    sys.stdout.write(bundled())
