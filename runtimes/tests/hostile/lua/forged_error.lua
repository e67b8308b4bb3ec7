-- expect: thrown
return function()
  error("not enough memory")
end
