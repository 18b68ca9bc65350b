# A stand-in for Slicer's build system, enough to configure the extension without a Slicer and to see what it would install:
#   cmake -S . -B BUILD -DSlicer_DIR=Testing/Scene/host/cmake -DBUILD_TESTING=ON
# It copies at configure time what Slicer copies at build time, into the same folders, and refuses what Slicer refuses. It
# packages nothing, runs no test and needs no compiler.
set(Slicer_FOUND TRUE)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/description.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/description.cmake")
