# What Slicer writes about an extension (FluoroDenoise.s4ext) and the tests that it would run, one a line.
get_property(tests GLOBAL PROPERTY STANDIN_TESTS)
list(JOIN tests "\n" lines)
file(WRITE "${CMAKE_BINARY_DIR}/tests.txt" "${lines}\n")
set(lines "")
foreach(key IN ITEMS HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS KEYWORDS)
  string(APPEND lines "${key} ${EXTENSION_${key}}\n")
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext" "${lines}")
