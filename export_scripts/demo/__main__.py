import sys

from export_scripts.demo import main

main(sys.argv[1:])
